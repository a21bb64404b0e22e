"""Imports flow one way, and importing the library does nothing."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "jaxcnn"

# Rooms that all may import.
SHARED = {"arguments", "preprocess"}

# What each room may import besides itself and those.
ALLOWED = {
    "nn": set(),
    "models": {"nn"},
    "weights": {"nn", "models", "analysis"},
    "analysis": {"nn", "models"},
    "visualize": {"nn", "models", "analysis", "filters"},
    "filters": set(),
    "transfer": {"nn", "models", "weights"},
    "probe": {"nn", "models", "weights", "transfer", "data", "processes", "parallel"},
    "benchmark": {"nn", "models", "data", "parallel", "train"},
    "data": {"buckets"},
    "buckets": set(),
    "launcher": set(),
    "processes": set(),
    "parallel": {"processes"},
    "arguments": set(),
    "preprocess": set(),
    "explore": {"nn", "models", "analysis", "filters", "visualize", "data", "evaluation"},
    "evaluation": {
        *("nn", "models", "weights", "filters", "visualize", "data", "processes", "parallel"),
    },
    "train": {
        *("nn", "models", "weights", "visualize", "analysis", "transfer"),
        *("data", "buckets", "processes", "parallel", "evaluation"),
    },
}


def _rooms() -> set[str]:
    return {p.stem if p.suffix else p.name for p in PACKAGE.iterdir() if _is_room(p)}


def _is_room(path: pathlib.Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").exists()


def _rooms_of(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "jaxcnn" else []
            if node.module == "jaxcnn":
                names = [f"jaxcnn.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("jaxcnn.")}
    return found


@pytest.mark.parametrize("room", sorted(_rooms() & ALLOWED.keys()))
def test_a_room_imports_only_what_it_may(room):
    single = PACKAGE / f"{room}.py"
    files = [single] if single.exists() else sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        forbidden = _rooms_of(path) - ALLOWED[room] - SHARED - {room}
        assert not forbidden, f"{path.relative_to(PACKAGE)} imports {forbidden}"


def test_every_room_has_its_rule():
    assert _rooms() - {"__init__"} <= ALLOWED.keys()


def test_importing_needs_no_data_library_and_touches_no_device():
    program = (
        "import sys, jaxcnn; from jax._src import xla_bridge as b; "
        "heavy = {'grain', 'tensorflow_datasets', 'tensorflow', 'orbax.checkpoint', 'matplotlib',"
        " 'sklearn'} & set(sys.modules); print(sorted(heavy), b.backends_are_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[] False", done.stdout + done.stderr
