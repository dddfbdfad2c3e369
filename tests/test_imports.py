"""Who may import whom, as docs/ARCHITECTURE.md draws it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("app", "app.cli", "cluster", "train_jobs", "serve_deployments", "benchmarks")
ARROWS: dict[str, set[str]] = {
    "app": set(),
    "app.cli": {"app", "cluster"},
    "cluster": {"app"},
    "train_jobs": {"app", "cluster"},
    "serve_deployments": {"app", "cluster"},
    "benchmarks": set(ROOMS),
}
USE_THE_CLUSTER = {
    "train_jobs": {"train_jobs.job", "train_jobs.ray_training", "train_jobs.pipeline", "train_jobs.retrain"},
    "serve_deployments": {"serve_deployments.control", "serve_deployments.change_requests"},
}
HEAVY = {"torch", "mlflow"}


def room_of(module: str) -> str:
    """The longest name of a room that it lies in; the top-level package of anything else."""
    return "app.cli" if module == "app.cli" or module.startswith("app.cli.") else module.partition(".")[0]


def files() -> dict[str, Path]:
    """Every module of every room, by its name."""
    found = (path for room in ROOMS for path in (ROOT / room.replace(".", "/")).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in found}


FILES = files()


@functools.cache
def imports(module: str, *, when_loaded: bool = False) -> set[str]:
    """Modules that it names in an import; with `when_loaded` only outside functions and `if TYPE_CHECKING`."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    found = set()
    for node in _run_at_once(tree) if when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & FILES.keys()
    return found


def _run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    for child in ast.iter_child_nodes(node):
        yield from _run_at_once(child)


def loaded_with(module: str) -> set[str]:
    """All that is imported once this module is, by names; packages of others without what they import."""
    seen: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in FILES:
            packages = {name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)}
            waiting |= (imports(name, when_loaded=True) | packages) - seen
    return seen


@pytest.mark.parametrize("room", ROOMS)
def test_every_arrow_is_drawn(room: str) -> None:
    modules = [module for module in FILES if room_of(module) == room]
    assert modules
    drawn = ARROWS[room] | {room}
    wrong = {
        f"{module} imports {name}"
        for module in modules
        for name in imports(module)
        if room_of(name) in ROOMS and room_of(name) not in drawn
    }
    assert not wrong


@pytest.mark.parametrize("room", USE_THE_CLUSTER)
def test_only_these_use_the_cluster(room: str) -> None:
    users = {
        module
        for module in FILES
        if room_of(module) == room and any(room_of(name) == "cluster" for name in imports(module))
    }
    assert users <= USE_THE_CLUSTER[room]


def test_the_domain_knows_no_ray() -> None:
    assert not {module for module in FILES if room_of(module) == "app" and "ray" in map(room_of, imports(module))}


@pytest.mark.parametrize("module", [module for module in FILES if room_of(module) == "serve_deployments"])
def test_serving_loads_neither_torch_nor_mlflow(module: str) -> None:
    assert not HEAVY & {name.partition(".")[0] for name in loaded_with(module)}


def test_a_heavy_import_would_be_seen() -> None:
    assert "torch" in loaded_with("app.training")
    assert "mlflow" not in loaded_with("app.mlflow_store"), "it is imported where it is used"
