"""The rooms of the package and the arrows between them: imports go down, never back up, and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "recsys"
BELOW = {
    "blocks": set(),
    "errors": set(),
    "redaction": set(),
    "shortcuts": set(),
    "text_table": set(),
    "progress": {"redaction"},
    "storage": {"errors"},
    "setting_types": {"errors", "storage"},
    "config_source": {"setting_types"},
    "config": {"config_source", "setting_types"},
    "setting_errors": {"errors", "redaction"},
    "settings": {"config", "errors", "redaction", "setting_errors", "storage"},
    "settings_text": {"config", "settings"},
    "contract": {"errors", "storage"},
    "sources": {"config", "errors", "progress", "storage"},
    "spark": {"config", "errors", "progress", "redaction", "setting_types", "settings", "sources", "storage"},
    "features": {"config", "contract", "errors", "progress", "settings", "setting_types", "sources", "spark", "storage"},
    "measure": {"contract", "errors"},
    "model": {"blocks", "config", "contract"},
    "methods": {"blocks", "config", "contract", "errors", "measure", "model", "progress", "settings", "spark", "storage"},
    "training": {"blocks", "config", "contract", "errors", "measure", "methods", "model", "progress", "settings", "storage"},
    "bench": {"contract", "measure", "methods", "model", "progress", "storage", "training"},
    "evaluation": {"config", "contract", "errors", "measure", "methods", "progress", "storage"},
    "monitoring": {"contract", "errors", "redaction", "settings", "storage"},
    "report": {"config", "contract", "errors", "measure", "progress", "redaction", "storage"},
    "recommend": {"config", "contract", "errors", "measure", "progress", "redaction", "storage", "text_table"},
}
"""What each room may import besides itself; `run`, the command line and the Python API may import everything."""


def room(module: str) -> str:
    """`methods` of recsys.methods.ease."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """The modules of recsys that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "recsys":
            names = {alias.name: PACKAGE.parent.joinpath(*node.module.split("."), alias.name) for alias in node.names}
            found |= {
                f"{node.module}.{name}" if place.is_dir() or place.with_suffix(".py").exists() else node.module
                for name, place in names.items()
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "recsys"}
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


@pytest.mark.parametrize("name", sorted(BELOW))
def test_a_room_imports_only_what_is_below_it(name: str) -> None:
    for module, path in modules().items():
        if room(module) == name:
            wrong = {other for other in imports(path) if room(other) not in BELOW[name] | {name, ""}}
            assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


def test_every_room_is_in_the_plan() -> None:
    above = {"run", "cli", "cli_options", "cli_looking", "api", "results"}
    assert {room(module) for module in modules()} - {""} == {*BELOW, *above}


def test_rooms_are_in_an_order() -> None:
    placed: set[str] = set()
    while len(placed) < len(BELOW):
        ready = {name for name, below in BELOW.items() if name not in placed and below <= placed}
        assert ready, f"a circle among {', '.join(sorted(set(BELOW) - placed))}"
        placed |= ready


def test_no_file_imports_in_a_circle() -> None:
    """Also imports for types alone count: who reads one file must not have to read the other first, and vice versa.

    The front of the package is left out: it has the version, and names of the API that it loads when they are asked for.
    """
    inside = set(modules()) - {"recsys"}
    graph = {module: imports(modules()[module]) & inside - {module} for module in inside}
    while graph:
        ready = {module for module, below in graph.items() if not below & set(graph)}
        assert ready, f"a circle among {', '.join(sorted(graph))}"
        for module in ready:
            del graph[module]


def test_no_two_files_have_one_name() -> None:
    names = [path.name for path in modules().values() if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_files_stay_within_one_story() -> None:
    """About 300 lines a file; the few longer ones must not grow unseen."""
    for module, path in modules().items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 320, f"{module} has {lines} lines"
