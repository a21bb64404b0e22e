"""The golden lists of every checkpoint's names: `layouts/FAMILY.json`.

    python tests/models/make_layouts.py

A name is what makes an old checkpoint loadable: change these files only with a way to read what
was written before. A line is a module (`[2-36]` stands for blocks of one shape), PyTorch's name of
it, and its arrays.
"""

from __future__ import annotations

import json
import pathlib
import re

from jaxcnn.models import create_model, list_models, model_info
from jaxcnn.weights import layout
from jaxcnn.weights.tables import tables

FOLDER = pathlib.Path(__file__).parent / "layouts"
_BLOCK = re.compile(r"_block(\d+)")


def modules_of(name: str) -> dict[str, str]:
    """Each module with weights, in order: PyTorch's name, and its arrays with their shapes."""
    info, model = model_info(name), create_model(name)
    table = tables(model, info.image_size)["torch"]
    arrays: dict[str, list[str]] = {}
    for path, value in layout.shapes(model, info.image_size, info.channels).items():
        size = "x".join(map(str, value.shape))
        arrays.setdefault("/".join(path[1:-1]), []).append(f"{path[-1]} {size}")
    return {
        module: f"{table.find(module)[0]}: {', '.join(sorted(found))}"
        for module, found in arrays.items()
    }


def folded(modules: dict[str, str]) -> dict[str, str]:
    """Blocks that differ by their number alone as one line."""
    groups: dict[tuple[str, str], list[int]] = {}
    for module, text in modules.items():
        match = _BLOCK.search(module)
        number = int(match[1]) if match else 0
        key = _BLOCK.sub("_block{}", module)
        # PyTorch counts the blocks of a stage from 0.
        theirs, arrays = text.split(": ")
        if match:
            theirs = theirs.replace(f".{number - 1}.", ".{}.", 1)
        groups.setdefault((key, f"{theirs}: {arrays}"), []).append(number)
    lines = {}
    for (key, text), numbers in groups.items():
        lines[key.replace("{}", _span(numbers))] = text.replace(
            "{}", _span([n - 1 for n in numbers])
        )
    return dict(sorted(lines.items()))


def _span(numbers: list[int]) -> str:
    first, last = min(numbers), max(numbers)
    assert sorted(numbers) == list(range(first, last + 1))
    return str(first) if first == last else f"[{first}-{last}]"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    families: dict[str, dict[str, dict[str, str]]] = {}
    for name in list_models():
        families.setdefault(model_info(name).family, {})[name] = folded(modules_of(name))
    for family, networks in families.items():
        (FOLDER / f"{family}.json").write_text(json.dumps(networks, indent=0) + "\n")


if __name__ == "__main__":
    main()
