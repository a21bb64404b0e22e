"""A Linen module of one's own is saved and opened under our names."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.weights import WeightsError, load, names, record, save, write


class Mine(nn.Module):
    widths: Sequence[int] = (8, 4)
    flatten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for width in self.widths:
            x = nn.BatchNorm(use_running_average=not train)(nn.Conv(width, (3, 3))(x))
        x = x.reshape(len(x), -1) if self.flatten else x.mean((1, 2))
        return nn.Dense(4)(x)


def variables_of(model: nn.Module, channels: int):
    shapes = model.init(jax.random.key(0), jnp.zeros((1, 6, 8, channels)), train=False)
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda x: draw.normal(size=x.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
@pytest.mark.parametrize("channels", [1, 3, 13])
@pytest.mark.parametrize(
    ("model", "size"), [(Mine(), None), (Mine([8, 4]), None), (Mine(flatten=True), (6, 8))]
)
def test_own_variables_come_back_bit_for_bit(model, size, channels, ending, tmp_path):
    variables, path = variables_of(model, channels), tmp_path / f"mine.{ending}"
    save(path, variables, model, naming="jaxcnn", image_size=size)
    back = load(path, model, image_size=size)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_own_names_are_paths():
    found = names(Mine(), naming="jaxcnn")
    assert found["params/Conv_0/kernel"] == (3, 3, 3, 8)
    assert found["batch_stats/BatchNorm_1/var"] == (4,)


def test_what_an_own_module_lacks_is_said(tmp_path):
    model, path = Mine(flatten=True), tmp_path / "mine.npz"
    variables = variables_of(model, 1)
    with pytest.raises(WeightsError, match="naming='jaxcnn' takes any module"):
        save(path, variables, model)
    with pytest.raises(WeightsError, match=r"1 mismatch\.\s.*Dense_0[^$]*image_size=\(height"):
        save(path, variables, model, naming="jaxcnn")
    with pytest.raises(WeightsError, match=r"is a dictionary.* naming='jaxcnn'"):
        write(path, variables)
    save(path, variables, model, naming="jaxcnn", image_size=(6, 8))
    with pytest.raises(WeightsError, match="new_head and in_channels need a network of jaxcnn"):
        load(path, model, image_size=(6, 8), new_head=jax.random.key(0))
    with pytest.raises(WeightsError, match="shape of params/BatchNorm_0/bias"):
        load(path, Mine((9, 4), flatten=True), image_size=(6, 8))
    with pytest.raises(WeightsError, match="Mine has no `taps`"):
        record(Mine(), variables_of(Mine(), 3), np.zeros((1, 6, 8, 3), np.float32))
