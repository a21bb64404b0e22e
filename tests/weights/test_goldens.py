"""Networks with weights made by a formula give the logits that torchvision's gave in float64."""

from __future__ import annotations

import json
import zlib

import jax
import numpy as np
import pytest

from jaxcnn.models import create_model
from jaxcnn.weights import from_torch, to_torch


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The formula of the goldens: every tensor follows from its name and shape."""
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        value = 0.5 + np.abs(z)
    elif name.endswith(("running_mean", "bias")):
        value = 0.1 * z
    elif len(shape) == 1:
        value = 1 + 0.1 * z
    else:
        value = z * np.sqrt(2 / np.prod(shape[1:]))
    return value.astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet18", "resnet34", "resnet50"])
def test_logits_equal_torchvisions_and_the_weights_come_back(name, shared):
    record = json.loads((shared / "goldens" / f"{name}.json").read_text())
    state_dict = {k: _tensor(k, tuple(s)) for k, s in record["state_dict"].items()}
    model = create_model(name)
    variables = from_torch(state_dict, model)
    size = record["image_size"]
    images = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    apply = jax.jit(model.apply, static_argnames="train")
    logits = apply(variables, images.transpose(0, 2, 3, 1), train=False)
    golden = np.load(shared / "goldens" / f"{name}.npz")["logits"]
    assert np.linalg.norm(logits - golden) / np.linalg.norm(golden) < 1e-5
    back = to_torch(variables, model)
    for key in state_dict.keys() & back.keys():
        np.testing.assert_array_equal(back[key], state_dict[key])
    assert all(key.endswith("num_batches_tracked") for key in state_dict.keys() - back.keys())
