"""An environment for each peer, made of pinned requirements and kept: their dependencies contradict each other."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import MantaError

REQUIREMENTS = Path(__file__).with_name("requirements")
INSTALL_LIMIT_S = 900
_VERSIONS = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
_HAS_TORCH = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"


class NotInstalled(MantaError):
    """A peer that cannot be measured here; the text says why."""


def environment(name: str, cache: Path) -> Path:
    """The Python of the environment that `requirements/<name>.txt` describes, made now unless the cache has it.

    Raises NotInstalled with what pip said.
    """
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    key = hashlib.sha256(f"{platform.python_version()} {sys.executable}\n{text}".encode()).hexdigest()[:10]
    folder = cache / f"{name}-{key}"
    python = folder / "bin" / "python"
    if not (folder / ".complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--requirement", str(REQUIREMENTS / f"{name}.txt")])
        (folder / ".complete").touch()
    if subprocess.run([python, "-c", _HAS_TORCH], check=False).returncode != 0:
        raise NotInstalled("its environment has torch, which none of its requests needs")
    return python


def installed_versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    said = subprocess.run([python, "-c", _VERSIONS, *packages], capture_output=True, text=True, check=True).stdout
    return dict(zip(packages, said.split(), strict=True))


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=INSTALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"installing it takes longer than {INSTALL_LIMIT_S} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
        raise NotInstalled(f"it cannot be installed: {lines[-1] if lines else 'pip said nothing'}") from None
