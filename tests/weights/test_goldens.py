"""Weights made by a formula give the logits and activations that torchvision's networks gave.

`goldens/` holds what torchvision 0.28 gave in float64, in a small form (make_goldens.py). Whatever
the shared test data hold besides is found and tried too.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib

import jax
import numpy as np
import pytest
import recipe

from jaxcnn.models import create_model, features
from jaxcnn.weights import from_torch, names, to_torch

GOLDENS = pathlib.Path(__file__).parent / "goldens"
SHARED = pathlib.Path(os.environ.get("JAXCNN_SHARED", GOLDENS.parents[3] / "shared")) / "goldens"
NETWORKS = sorted({p.stem for p in [*GOLDENS.glob("*.npz"), *SHARED.glob("*.json")]})
NETWORKS.remove("trajectory_resnet18")
# The quick ones; VGG's dense layers and the deep ResNets take long.
FAST = {"alexnet", "googlenet", "resnet18", "resnet50", "resnext50_32x4d"}


@functools.partial(jax.jit, static_argnums=0)
def _run(model, variables, images):
    logits = model.apply(variables, images, train=False)
    maps = features(model, variables, images)
    return logits, {name: x.mean((1, 2)) for name, x in maps.items()}


def _assert_equal(found, golden) -> None:
    assert np.linalg.norm(np.asarray(found) - golden) / np.linalg.norm(golden) < 1e-5


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in NETWORKS]
)
def test_logits_and_taps_equal_torchvisions_and_the_weights_come_back(name):
    model = create_model(name)
    record, size = {"state_dict": names(model)}, 224
    if (SHARED / f"{name}.json").exists():
        record = json.loads((SHARED / f"{name}.json").read_text())
        size = record["image_size"]
    state_dict = {key: recipe.tensor(key, shape) for key, shape in record["state_dict"].items()}
    variables = from_torch(state_dict, model, keep_counters=True)
    used = {kind: variables[kind] for kind in ("params", "batch_stats") if kind in variables}
    logits, taps = _run(model, used, recipe.images(size).transpose(0, 2, 3, 1))

    if (SHARED / f"{name}.npz").exists():
        _assert_equal(logits, np.load(SHARED / f"{name}.npz")["logits"])
    if (GOLDENS / f"{name}.npz").exists():
        golden = dict(np.load(GOLDENS / f"{name}.npz"))
        # torchvision's names and shapes, all of them and no others.
        assert recipe.digest(names(model)) == golden.pop("digest")
        _assert_equal(logits[:, ::4], golden.pop("logits"))
        assert {f"tap_{tap}" for tap in taps} == golden.keys()
        for tap, means in taps.items():
            _assert_equal(means[:, ::8], golden[f"tap_{tap}"])

    back = to_torch(variables, model)
    assert back.keys() == state_dict.keys()
    for key, value in state_dict.items():
        assert (back[key].dtype, back[key].shape) == (value.dtype, value.shape)
        assert back[key].tobytes() == value.tobytes(), key
