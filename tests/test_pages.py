"""The Python of the pages runs as it stands."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import re

import pytest

from jaxcnn import train

ROOT = pathlib.Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
PAGES = ("data", "evaluation", "explore", "filters", "training", "visualize")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    """A folder that holds `runs/digits_cnn`, trained for a few steps only."""
    folder = tmp_path_factory.mktemp("clone")
    spec = importlib.util.spec_from_file_location("digits_cnn", ROOT / "configs" / "digits_cnn.py")
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    config = dataclasses.replace(
        recipe.config(), length=train.steps(60), num_devices=1, figures=False
    )
    train.fit(config, folder / "runs" / "digits_cnn")
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_the_page_runs(page, trained, monkeypatch):
    monkeypatch.chdir(trained)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.S)
    assert blocks
    scope: dict = {}
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), scope)
    if page == "training":
        assert scope["network"].step and scope["result"].top1 > 0.9
    if page == "evaluation":
        assert scope["result"].count == 364
