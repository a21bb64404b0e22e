"""The pages that docs/make_*.py writes stand as those would write them now."""

from __future__ import annotations

import importlib.util
import pathlib

import jaxcnn

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


def maker(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_public_names_holds_each_with_its_meaning():
    text = (DOCS / "api.md").read_text()
    assert "- **`create_model(name, **fields)`** A Linen module by name" in text
    assert [line for line in text.splitlines() if line.endswith("`**")] == []  # no docstring
    assert all(f"## `jaxcnn.{name}`" in text for name in jaxcnn._ROOMS if name != "models")
    assert maker("make_api_page").page() == text, "run python docs/make_api_page.py"


def test_the_tables_of_the_models_page_are_those_of_the_networks():
    text = (DOCS / "models.md").read_text()
    assert "| `resnet50` | 25,557,032 | 224 |" in text and "`stage4` 32/2048" in text
    assert maker("make_models_page").page(text) == text, "run python docs/make_models_page.py"
