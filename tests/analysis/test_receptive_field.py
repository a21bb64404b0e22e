"""Receptive fields against what really happens when one pixel changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.analysis import Box, receptive_field

SIZE = (14, 12)
EXACT = [
    "Plain",
    "Same",
    "Branches",
    "OptionA",
    "Slices",
    "Lifted",
    "SpaceToDepth",
    "Gated",
    "Transposed",
]


def sown(model, variables, images):
    """The sown values, by name, as [units..., channels] for one image."""
    _, state = model.apply(variables, images, mutable=["intermediates"])
    return {name: value[0] for name, value in state["intermediates"].items()}


def support(model, size):
    """Per tap, bool [pixels, *value shape]: whether a NaN in that pixel reaches that element."""
    image = jnp.ones((1, *size, 3))
    variables = model.init(jax.random.key(0), image)
    variables = {"params": variables["params"]}

    def reached(row, column):
        return jax.tree.map(
            jnp.isnan, sown(model, variables, image.at[0, row, column].set(jnp.nan))
        )

    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 2)
    return grid, jax.jit(jax.vmap(reached))(grid[:, 0], grid[:, 1])


def bounding_box(grid, mask):
    if not mask.any():
        return (0, 0)
    rows, columns = grid[mask].T
    return Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


@pytest.mark.parametrize("name", EXACT)
def test_box_is_exactly_the_pixels_from_which_nan_spreads(build, name):
    model = build(name)
    fields = receptive_field(model, SIZE)
    assert fields.inexact == ()
    grid, reached = support(model, SIZE)
    for tap in fields.taps:
        hit = np.asarray(reached[tap])[:, 0]
        for unit in np.ndindex(*hit.shape[1:-1]):
            expected = bounding_box(grid, hit[(slice(None), *unit)].any(axis=-1))
            assert fields.box(tap, unit) == expected, (tap, unit)
        for channel in range(hit.shape[-1]):
            unit = tuple(n // 2 for n in hit.shape[1:-1])
            box = fields.box(tap, unit, channel=channel)
            mask = hit[(slice(None), *unit, channel)]
            if mask.any():
                assert box == bounding_box(grid, mask), (tap, unit, channel)
            else:
                assert 0 in box.size


@pytest.mark.parametrize("name", ["Same", "OptionA", "Branches"])
def test_box_is_the_support_of_the_gradient(build, name):
    """Positive weights and inputs: nothing cancels, no ReLU closes."""
    model = build(name)
    fields = receptive_field(model, SIZE)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(0.5, 1, (1, *SIZE, 3)), jnp.float32)
    variables = {
        "params": jax.tree.map(
            lambda p: jnp.asarray(rng.uniform(0.5, 1, p.shape), jnp.float32),
            model.init(jax.random.key(0), image)["params"],
        )
    }
    out = sown(model, variables, image)["out"]
    units = [(0, 0), (out.shape[1] // 2, out.shape[2] // 2), (out.shape[1] - 1, out.shape[2] - 1)]
    for unit in units:
        gradient = jax.grad(lambda x, u=unit: sown(model, variables, x)["out"][(0, *u)].sum())
        rows, columns = np.nonzero(np.abs(gradient(image)[0]).sum(-1))
        expected = Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert fields.box("out", unit) == expected


class Stack(nn.Module):
    """Convolutions and poolings as (kernel, stride, padding)."""

    layers: tuple[tuple[int, int, int], ...]
    pools: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x):
        for i, (kernel, stride, padding) in enumerate(self.layers):
            if i in self.pools:
                sides = ((padding, padding),) * 2
                x = nn.max_pool(x, (kernel, kernel), (stride, stride), padding=sides)
            else:
                x = nn.Conv(2, (kernel, kernel), strides=stride, padding=padding)(x)
        self.sow("intermediates", "out", x)
        return x


def vgg16():
    layers, pools = [], []
    for count in (2, 2, 3, 3, 3):
        layers += [(3, 1, 1)] * count + [(2, 2, 0)]
        pools.append(len(layers) - 1)
    return Stack(tuple(layers), tuple(pools))


def resnet50(stride_in):
    """The longest path through a ResNet-50; its shortcuts see less. Strides as (block, layer)."""
    layers = [(7, 2, 3), (3, 2, 1)]
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            strides = [1, 1, 1]
            if stride_in == "first 1x1" and stage and not block:
                strides[0] = 2
            if stride_in == "first 3x3" and stage and not block:
                strides[1] = 2
            if stride_in == "last 3x3" and stage < 3 and block == count - 1:
                strides[1] = 2
            layers += [(1, strides[0], 0), (3, strides[1], 1), (1, 1, 0)]
    return Stack(tuple(layers), (1,))


ALEXNET = Stack(
    ((11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), *[(3, 1, 1)] * 3, (3, 2, 0)), (1, 3, 7)
)


@pytest.mark.parametrize(
    ("model", "size", "stride", "padding"),
    [
        (Stack(((3, 1, 1), (3, 1, 1))), 5, 1, 2),
        (Stack(((3, 1, 1), (3, 1, 1), (3, 1, 1))), 7, 1, 3),
        # Published in Araujo, Norris and Sim 2019: AlexNet v2, VGG-16, ResNet-50 v1, all TF-Slim's.
        (ALEXNET, 195, 32, 64),
        (vgg16(), 212, 32, 90),
        (resnet50("last 3x3"), 483, 32, 241),
        # He et al. 2015 put the stride into the first 1x1, v1.5 into the 3x3 of that block.
        (resnet50("first 1x1"), 483, 32, 241),
        (resnet50("first 3x3"), 427, 32, 213),
    ],
)
def test_known_networks(model, size, stride, padding):
    field = receptive_field(model, 256)["out"]
    assert (field.size, field.stride, field.padding) == ((size,) * 2, (stride,) * 2, (padding,) * 2)


def test_a_loop_gives_an_upper_bound_and_says_so(build):
    fields = receptive_field(build("Deformed"), SIZE)
    assert fields.inexact == ("while",)
    assert fields.box("out", (0, 0)) == Box(0, 0, *SIZE)


def test_unclipped_boxes_lie_on_the_grid_that_stride_and_padding_describe(build):
    fields = receptive_field(build("Plain"), SIZE)
    field = fields["out"]
    for i, j in np.ndindex(*field.shape[1:3]):
        box = fields.box("out", (i, j), clipped=False)
        assert box.top == i * field.stride[0] - field.padding[0]
        assert box.left == j * field.stride[1] - field.padding[1]
        assert box.size == field.size


def test_unknown_names_and_units_are_errors_that_help(build):
    fields = receptive_field(build("Plain"), SIZE)
    with pytest.raises(ValueError, match="no layer or tap 'outt'; did you mean 'out'"):
        fields["outt"]
    with pytest.raises(ValueError, match=r"unit \(7, 0\) is not in 'out': its units are \(7, 6\)"):
        fields.box("out", (7, 0))
    with pytest.raises(ValueError, match="channel 4 is not in 'out': it has 4"):
        fields.box("out", (0, 0), channel=4)


def test_modules_and_taps_can_be_asked_by_name(build):
    fields = receptive_field(build("Plain"), SIZE)
    assert fields.taps == ("convs", "out")
    assert {"a", "b"} <= set(fields.names)
    assert fields["a"].size == (3, 3)
    assert fields["b"].size == fields["convs"].size == (5, 5)


def test_the_fields_are_a_mapping_by_name(build):
    fields = receptive_field(build("Plain"), SIZE)
    assert tuple(fields) == fields.names
    assert len(fields) == len(fields.names)
    assert dict(fields)["a"] == fields["a"]
    assert "a" in fields
    assert 0 not in fields
    assert fields.get("outt") is None
