"""The installed tree and the archive: they run from any folder, and another CMake project can use the library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CONSUMER_CMAKE = """\
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES CXX)
find_package(manta_engine REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE manta::engine)
"""
CONSUMER_MAIN = """\
#include <manta/engine.hpp>
#include <fstream>
#include <iostream>
#include <iterator>

int main(int, char** argv) {
  std::ifstream file(argv[2], std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::cout << manta::Engine(argv[1]).classify(bytes).predictions.front().class_name << '\\n';
}
"""


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed in one folder, then moved to another."""
    first = tmp_path_factory.mktemp("first") / "tree"
    run("cmake", "--install", str(build), "--prefix", str(first))
    moved = tmp_path_factory.mktemp("moved") / "tree"
    shutil.move(first, moved)
    return moved


def run(*command: str, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def library_folder(tree: Path) -> Path:
    return next(tree.rglob("libonnxruntime.so.1")).parent


def test_the_tree_is_whole_and_runs_anywhere(installed: Path, golden: Path) -> None:
    libraries = library_folder(installed)
    assert (libraries / "libmanta_engine.so").exists()
    assert not (libraries / "libonnxruntime.so.1").is_symlink()
    assert (installed / "include" / "manta" / "engine.hpp").is_file()
    assert (installed / "include" / "manta" / "export.hpp").is_file()
    image = golden / "images" / "size-32x32.png"
    model = golden / "bundles" / "colours"
    answer = run(str(installed / "bin" / "manta-engine"), "-m", str(model), "-i", str(image))
    assert str(image) in answer
    run(str(installed / "bin" / "manta-engine-server"), "--version")
    used = run("ldd", str(installed / "bin" / "manta-engine"))
    (line,) = [line for line in used.splitlines() if "libonnxruntime.so.1 =>" in line]
    assert Path(line.split()[2]).resolve().parent == libraries


def test_the_archive_runs(build: Path, golden: Path, tmp_path: Path) -> None:
    run("cpack", "-B", str(tmp_path), "--config", str(build / "CPackConfig.cmake"))
    (archive,) = tmp_path.glob("manta-engine-*.tar.gz")
    (tmp_path / "unpacked").mkdir()
    run("tar", "-xzf", str(archive), "-C", str(tmp_path / "unpacked"))
    (program,) = (tmp_path / "unpacked").rglob("bin/manta-engine")
    assert "network" in run(str(program), "-m", str(golden / "bundles" / "network"), "--info")


def test_another_project_uses_it(installed: Path, golden: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER_CMAKE)
    (tmp_path / "main.cpp").write_text(CONSUMER_MAIN)
    run("cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build"), f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", str(tmp_path / "build"))
    consumer = tmp_path / "build" / "consumer"
    image = golden / "images" / "size-32x32.png"
    assert run(str(consumer), str(golden / "bundles" / "colours"), str(image)).strip() in {"red", "green", "blue"}
