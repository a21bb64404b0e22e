"""docs/api.md lists the public names."""

from __future__ import annotations

import importlib.util
import pathlib

import jaxcnn

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


def test_the_page_holds_every_public_name_and_its_meaning():
    spec = importlib.util.spec_from_file_location("make_api_page", DOCS / "make_api_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (DOCS / "api.md").read_text()
    assert "- **`create_model(name, **fields)`** A Linen module by name" in text
    assert [line for line in text.splitlines() if line.endswith("`**")] == []  # no docstring
    assert all(f"## `jaxcnn.{name}`" in text for name in jaxcnn._ROOMS if name != "models")
    assert module.page() == text, "run python docs/make_api_page.py"
