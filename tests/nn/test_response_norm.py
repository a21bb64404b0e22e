"""Local response normalisation is section 3.3 of Krizhevsky et al. 2012."""

from __future__ import annotations

import numpy as np

from jaxcnn.nn import local_response_norm


def test_a_unit_is_divided_by_the_activity_of_its_neighbour_channels():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 9)).astype(np.float32) * 30
    expected = np.empty_like(x)
    for i in range(9):
        total = (x[..., max(0, i - 2) : min(9, i + 3)].astype(np.float64) ** 2).sum(-1)
        expected[..., i] = x[..., i] / (2 + 1e-4 * total) ** 0.75
    np.testing.assert_allclose(local_response_norm(x), expected, rtol=1e-5)


def test_pytorchs_alpha_is_five_times_ours():
    # torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2) of 1, ..., 6 in six channels.
    x = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 1, 1, 6)
    total = np.array([14, 30, 55, 90, 86, 77])
    expected = x.ravel() / (2 + 1e-4 / 5 * total) ** 0.75
    found = local_response_norm(x, alpha=1e-4 / 5).ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
