"""Feature maps and receptive fields: the right channels, the boxes that gradients confirm."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxcnn.models import create_model, features
from jaxcnn.visualize import feature_maps, strongest_units, unit_views


def test_maps_are_the_features_of_the_most_varied_channels(small):
    model, variables, images = small
    found = feature_maps(model, variables, images[0], count=5)
    expected = features(model, variables, images[:1])
    assert [maps.layer for maps in found] == list(expected)
    for maps in found:
        value = np.asarray(expected[maps.layer][0])
        spread = value.std(axis=(0, 1))
        assert maps.total == len(spread)
        assert spread[maps.channels].min() >= np.sort(spread)[-5] - 1e-6
        np.testing.assert_allclose(
            maps.maps, np.moveaxis(value[..., maps.channels], -1, 0), rtol=1e-4, atol=1e-5
        )


def test_a_network_without_taps_shows_its_convolutions_or_a_module_that_is_named(foreign):
    model, variables, images = foreign
    assert [m.layer for m in feature_maps(model, variables, images[0])] == [
        "Conv_0",
        "CheckpointConv_0",
    ]
    (one,) = feature_maps(model, variables, images[0], layers=["Conv_0"], count=3)
    assert one.maps.shape == (3, 8, 8) and one.total == 4
    with pytest.raises(ValueError, match="did you mean 'Conv_0'"):
        feature_maps(model, variables, images[0], layers=["Conv0"])
    with pytest.raises(ValueError, match="no rows and columns"):
        feature_maps(model, variables, images[0], layers=["Dense_0"])


def test_a_box_is_the_support_of_the_units_gradient(draw):
    model, variables = draw("cifar_resnet20", (32, 32, 3))
    # Positive weights and pixels: no ReLU stops a gradient, and no two paths cancel.
    variables = jax.tree.map(np.abs, variables)
    variables["batch_stats"] = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 0 * leaf if path[-1].key == "mean" else leaf, variables["batch_stats"]
    )
    image = np.random.default_rng(0).uniform(0.1, 1, (32, 32, 3)).astype(np.float32)
    views = strongest_units(model, variables, image, ["stem", "stage1", "stage2"])
    assert [view.size for view in views] == [(3, 3), (15, 15), (37, 37)]
    for view in views:

        def unit(x, view=view):
            value = features(model, variables, x[None], [view.layer])[view.layer]
            return value[0, view.unit[0], view.unit[1], view.channel]

        np.testing.assert_allclose(view.activation[view.unit], unit(image), rtol=1e-4)
        assert view.activation[view.unit] == view.activation.max()
        rows, columns = np.nonzero(np.abs(jax.jit(jax.grad(unit))(image)).max(-1))
        box = view.box
        assert (rows.min(), rows.max() + 1) == (box.top, box.bottom)
        assert (columns.min(), columns.max() + 1) == (box.left, box.right)


def test_boxes_need_no_weights_and_reach_the_published_sizes():
    views = unit_views(create_model("vgg16"), (224, 224))
    assert [view.size for view in views][-1] == (196, 196)  # conv5_3; its pooling sees 212
    assert views[0].unit == (112, 112) and views[0].activation is None
    with pytest.raises(ValueError, match=r"unit \(300, 0\) is not in"):
        unit_views(create_model("vgg16"), (224, 224), ["stage1"], unit=(300, 0))
