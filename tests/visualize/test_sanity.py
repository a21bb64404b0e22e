"""The randomised-weights check: cascading from the output, with Spearman's correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxcnn.visualize import Program, randomization_check, rank_correlation, saliency


def test_the_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (6, 6)), rng.normal(size=(6, 6))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert rank_correlation(a, np.exp(3 * a)) == pytest.approx(1)
    assert rank_correlation(a, np.zeros((6, 6))) == 0


def test_layers_lose_their_training_one_after_another_from_the_output(tiny):
    image = np.array([[[[1.0], [-2.0]], [[3.0], [-4.0]]]], np.float32)
    model, variables = tiny
    result = randomization_check(model, variables, image, method="saliency", classes=0, seed=3)
    assert result.layers == ("head", "conv")
    assert result.maps.shape == (3, 1, 2, 2) and result.correlations[0, 0] in (0, 1)
    program = Program(model, variables, image)
    names = [path[1] for path, _ in program.named_weights()]
    drawn = dict(zip(names, program.initial_weights(3), strict=True))
    for step, randomized in enumerate([(), ("head",), ("head", "conv")]):
        weights = {
            name: {"kernel": drawn[name]} if name in randomized else variables["params"][name]
            for name in names
        }
        expected = saliency(model, {"params": weights}, image, classes=0).maps
        np.testing.assert_allclose(result.maps[step], expected, atol=1e-6)


@pytest.mark.slow
def test_full_randomisation_is_the_last_step_of_the_cascade(foreign):
    options = {"method": "grad_cam", "classes": 1}
    cascade = randomization_check(*foreign, **options)
    full = randomization_check(*foreign, order="full", **options)
    assert cascade.layers == ("Dense_0", "CheckpointConv_0", "Conv_0")
    np.testing.assert_array_equal(full.maps, cascade.maps[[0, -1]])
    np.testing.assert_allclose(full.correlations[0], 1)
    assert np.abs(full.correlations[1]).max() < 1
    with pytest.raises(ValueError, match="there are grad_cam, saliency, guided_backprop"):
        randomization_check(*foreign, method="gradcam")
