"""timm's names, in and out."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import recipe

from jaxcnn.models import create_model
from jaxcnn.weights import WeightsError, names, to_torch

# Made by make_timm_names.py from timm itself.
DIGESTS = json.loads((pathlib.Path(__file__).parent / "goldens" / "timm_names.json").read_text())
VERSION = DIGESTS.pop("timm")


@pytest.mark.parametrize("name", DIGESTS)
def test_names_and_shapes_are_timms(name):
    assert recipe.digest(names(create_model(name), naming="timm")) == DIGESTS[name]


def test_timm_keeps_vggs_dense_layers_as_convolutions_over_the_last_map():
    shapes = names(create_model("vgg11", num_classes=2), naming="timm")
    assert shapes["pre_logits.fc1.weight"] == (4096, 512, 7, 7)
    assert shapes["pre_logits.fc2.weight"] == (4096, 4096, 1, 1)
    assert shapes["head.fc.weight"] == (2, 4096)


def test_a_family_without_timm_names_says_which_it_has():
    model = create_model("lenet5")
    with pytest.raises(WeightsError, match="it has torch, jaxcnn"):
        to_torch({"params": {"x": np.zeros(1)}}, model, naming="timm")
