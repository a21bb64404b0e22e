"""Rewrites docs/api.md, the list of public names, from the rooms' exports and docstrings.

    python docs/make_api_page.py

A test compares the page with what this gives.
"""

from __future__ import annotations

import importlib
import inspect
import pathlib
from typing import Any, TypeVar

PAGE = pathlib.Path(__file__).parent / "api.md"
HEAD = """# Public names

What research code may import; names that are not here may change. Python's `help` gives shapes,
units, errors and sources: `help(jaxcnn.create_model)`. Networks are plain Flax modules, made by
that function under the names in [models.md](models.md). Every module below is an attribute of
`jaxcnn`, and loads when it is first used.

Made by `python docs/make_api_page.py`.
"""
# Each room, and the page that shows it in use.
ROOMS = {
    "jaxcnn": "",
    "jaxcnn.nn": "",
    "jaxcnn.weights": "weights.md",
    "jaxcnn.data": "data.md",
    "jaxcnn.train": "training.md",
    "jaxcnn.transfer": "transfer.md",
    "jaxcnn.parallel": "scaling.md",
    "jaxcnn.evaluation": "evaluation.md",
    "jaxcnn.probe": "transfer.md",
    "jaxcnn.analysis": "analysis.md",
    "jaxcnn.filters": "filters.md",
    "jaxcnn.visualize": "visualize.md",
    "jaxcnn.explore": "explore.md",
    "jaxcnn.benchmark": "performance.md",
}


def public_names(module: Any) -> list[str]:
    """Its `__all__`; without one what a folder takes from its files, or what a file defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    within = "jaxcnn" if hasattr(module, "__path__") else module.__name__
    names = []
    for name, value in vars(module).items():
        home = getattr(value, "__module__", None) or type(value).__module__
        other = name.startswith("_") or inspect.ismodule(value) or isinstance(value, TypeVar)
        if home.startswith(within) and not other:
            names.append(name)
    return sorted(names, key=str.lower)


class _Name:
    """Stands for a default value by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


def call(name: str, value: Any) -> str:
    """`name(a, b, *, c=1)`; classes and constants by name alone."""
    if inspect.isclass(value) or not callable(value):
        return name
    parameters = []
    for p in inspect.signature(value).parameters.values():
        default = p.default
        if callable(default) and not inspect.isclass(default):
            default = _Name("...")
        parameters.append(p.replace(annotation=inspect.Parameter.empty, default=default))
    return f"{name}{inspect.Signature(parameters)}"


def first_sentence(value: Any) -> str:
    """The first line or lines of the docstring, up to an empty one."""
    text = inspect.getdoc(value) or ""
    return " ".join(text.split("\n\n", 1)[0].split())


def room(path: str, page: str) -> str:
    module = importlib.import_module(path)
    lines = [f"\n## `{path}`", "", first_sentence(module) + (f" [{page}]({page})" if page else "")]
    lines.append("")
    for name in public_names(module):
        value = getattr(module, name)
        if inspect.ismodule(value):
            continue  # it has a heading of its own
        text = first_sentence(value) if callable(value) else f"A `{type(value).__name__}`."
        lines.append(f"- **`{call(name, value)}`** {text}")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(room(path, where) for path, where in ROOMS.items())


if __name__ == "__main__":
    PAGE.write_text(page())
