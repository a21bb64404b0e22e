"""docs/models.md says what the networks are."""

from __future__ import annotations

import importlib.util
import pathlib

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def test_the_tables_of_the_page_are_those_of_the_networks():
    spec = importlib.util.spec_from_file_location("make_models_page", DOCS / "make_models_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (DOCS / "models.md").read_text()
    assert "| `resnet50` | 25,557,032 | 224 |" in text and "`stage4` 32/2048" in text
    assert module.page(text) == text, "run python docs/make_models_page.py"
