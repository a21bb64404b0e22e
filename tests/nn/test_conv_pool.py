"""Convolution and pooling by scipy and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxcnn.nn import Conv, adaptive_avg_pool, avg_pool, conv2d, global_avg_pool, max_pool
from jaxcnn.nn.response_norm import local_response_norm


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 2), (2, 1), (3, 2)])
def test_convolution_is_scipys_correlation(stride, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 11, 9, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    expected = np.stack(
        [
            [
                sum(
                    scipy.signal.correlate2d(padded[b, :, :, c], kernel[:, :, c, f], "valid")
                    for c in range(3)
                )[::stride, ::stride]
                for f in range(4)
            ]
            for b in range(2)
        ]
    ).transpose(0, 2, 3, 1)
    y = conv2d(x, kernel, stride=stride, padding=padding)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_ten_filters_of_5x5x3_have_760_parameters():
    layer = Conv(10, 5, padding=2)
    variables = layer.init(jax.random.key(0), np.zeros((1, 32, 32, 3)))
    assert sum(p.size for p in jax.tree.leaves(variables)) == 760
    assert layer.apply(variables, np.zeros((1, 32, 32, 3))).shape == (1, 32, 32, 10)


def test_errors_name_the_value_and_the_rule():
    with pytest.raises(ValueError, match="reaches 5 pixels does not fit a height of 4"):
        Conv(1, 5).init(jax.random.key(0), np.zeros((1, 4, 8, 1)))
    with pytest.raises(ValueError, match="groups=2 must divide both the 3 input"):
        Conv(4, 1, groups=2).init(jax.random.key(0), np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="window of 3 does not fit 2 pixels"):
        max_pool(np.zeros((1, 2, 2, 1), np.float32), 3)


X = np.zeros((2, 8, 8, 4), np.float32)
KERNEL = np.zeros((3, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Conv(4, 3, padding="SAME"), "padding='SAME': .* for 'SAME' half of an odd kernel"),
        (lambda: Conv(4, 3, padding=((1, 1), (1, 1))), "padding=.* the same on both sides"),
        (lambda: Conv(4, (3, 3, 4)), r"kernel_size=\(3, 3, 4\): give a whole number"),
        (lambda: Conv(4, 3, stride=0), "stride=0: give a whole number of at least 1"),
        (lambda: Conv(4, 3, groups=0), "groups=0 must divide"),
        (lambda: conv2d(X, KERNEL, groups=0), "groups=0 must divide"),
        (lambda: conv2d(X, KERNEL[:, :, :2]), "does not suit 4 input channels in 1 groups"),
        (lambda: conv2d(X[:, :2], KERNEL), "conv2d: a kernel that reaches 3 .* a height of 2"),
        (lambda: conv2d(X, KERNEL, dilation=1.5), "dilation=1.5: give a whole number"),
        (lambda: max_pool(X, 2.0), "window=2.0: give a whole number"),
        (lambda: max_pool(X, 2, padding=2), "padding=2 is more than half of a pooling window of 2"),
        (lambda: avg_pool(X, 2, stride=0), "stride=0: give a whole number of at least 1"),
        (lambda: adaptive_avg_pool(X, 0), "size=0: give a whole number of at least 1"),
    ],
)
def test_an_argument_that_cannot_be_is_named_with_what_can(call, message):
    with pytest.raises(ValueError, match=message):
        layer = call()
        if isinstance(layer, Conv):
            layer.init(jax.random.key(0), X)


def test_numpys_integers_are_sizes():
    one = np.int64(1)
    y = conv2d(X, KERNEL, stride=one, padding=(one, one), dilation=one, groups=one)
    assert y.shape == X.shape
    assert Conv(4, np.int32(3)).init_with_output(jax.random.key(0), X)[0].shape == (2, 6, 6, 4)
    assert max_pool(X, np.int64(2)).shape == (2, 4, 4, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: conv2d(x, KERNEL),
        lambda x: Conv(4, 3).init(jax.random.key(0), x),
        lambda x: max_pool(x, 2),
        lambda x: avg_pool(x, 2),
        lambda x: adaptive_avg_pool(x, 2),
        global_avg_pool,
        local_response_norm,
    ],
)
def test_a_single_image_is_told_what_it_lacks(call):
    with pytest.raises(ValueError, match=r"takes images \[B, H, W, C\].* is images\[None\]"):
        call(X[0])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_averages_of_half_precision_are_summed_in_float32(dtype):
    # In bfloat16 a sum of ones ends at 256.
    x = jnp.ones((1, 32, 32, 1), dtype)
    y = avg_pool(x, 32)
    assert (y.dtype, y.item()) == (dtype, 1.0)


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6, 7)))
        close = {"rtol": 1e-14, "atol": 1e-16}
        np.testing.assert_allclose(global_avg_pool(x), np.mean(x, (1, 2)), **close)
        np.testing.assert_allclose(avg_pool(x, 6)[:, 0, 0], np.mean(x, (1, 2)), **close)
        expected = np.mean(np.reshape(x, (1, 2, 3, 2, 3, 7)), (2, 4))
        np.testing.assert_allclose(adaptive_avg_pool(x, 2), expected, **close)
        squares = np.square(np.pad(x, ((0, 0), (0, 0), (0, 0), (2, 2))))
        total = sum(squares[..., i : i + 7] for i in range(5))
        expected = x / (2 + 1e-4 * total) ** 0.75
        np.testing.assert_allclose(local_response_norm(x), expected, **close)


def test_max_pooling_takes_windows_and_padding_never_wins():
    x = -1 - np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    expected = [[-1, -2, -4], [-6, -7, -9], [-16, -17, -19]]
    np.testing.assert_array_equal(max_pool(x, 3, stride=2, padding=1)[0, :, :, 0], expected)
    np.testing.assert_array_equal(max_pool(x, 2)[0, :, :, 0], [[-1, -3], [-11, -13]])
    assert max_pool(x, 2, ceil_mode=True).shape == (1, 3, 3, 1)
    # A window that would start in the right padding is left out, as PyTorch does.
    assert max_pool(x, 1, stride=2, padding=0, ceil_mode=True).shape == (1, 3, 3, 1)


def test_averages_are_means():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(avg_pool(x, 2)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(global_avg_pool(x), [[7.5]])


def test_rounding_up_keeps_a_window_that_hangs_over_the_edge():
    x = np.arange(2.0, dtype=np.float32).reshape(1, 1, 2, 1)
    # PyTorch: a window of 3 with stride 2 on 2 pixels gives one, on 1 pixel none.
    assert max_pool(x, (1, 3), stride=2, ceil_mode=True).ravel().tolist() == [1.0]
    with pytest.raises(ValueError, match="window of 3 does not fit 2 pixels"):
        max_pool(x, (1, 3), stride=2)
    with pytest.raises(ValueError, match="window of 3 does not fit 1 pixels"):
        max_pool(x[:, :, :1], (1, 3), stride=2, ceil_mode=True)
