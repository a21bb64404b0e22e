"""The names that checkpoints are made of, and where the shortcuts project."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import pytest

from jaxcnn.models import list_models, model_info

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def layouts():
    spec = importlib.util.spec_from_file_location("make_layouts", HERE / "make_layouts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", list_models())
def test_every_name_is_the_golden_lists(name, layouts):
    golden = json.loads((HERE / "layouts" / f"{model_info(name).family}.json").read_text())
    found = layouts.folded(layouts.modules_of(name))
    assert found == golden[name], (
        "Names or shapes changed: checkpoints written before no longer load. If that is meant, "
        "run python tests/models/make_layouts.py."
    )


# He et al. 2015, table 1: a projection where the map halves; a bottleneck's first stage widens
# its 64 channels to 256, so that one more projects there.
@pytest.mark.parametrize(
    ("pattern", "stages"),
    [
        ("resnet18", (2, 3, 4)),
        ("resnet34", (2, 3, 4)),
        ("resnet50", (1, 2, 3, 4)),
        ("resnet101", (1, 2, 3, 4)),
        ("resnet152", (1, 2, 3, 4)),
        ("resnet50_v1", (1, 2, 3, 4)),
        ("resnet101_v1", (1, 2, 3, 4)),
        ("resnet152_v1", (1, 2, 3, 4)),
        ("resnext50_32x4d", (1, 2, 3, 4)),
        ("wide_resnet50_2", (1, 2, 3, 4)),
        ("plain18", ()),
        ("plain34", ()),
        ("cifar_resnet20", ()),
        ("cifar_resnet56_b", (2, 3)),
        ("cifar_plain20", ()),
    ],
)
def test_shortcuts_project_only_where_the_shape_changes(pattern, stages, layouts):
    found = [m for m in layouts.modules_of(pattern) if m.endswith("/project")]
    assert sorted(found) == [f"stage{stage}_block1/project" for stage in stages]
