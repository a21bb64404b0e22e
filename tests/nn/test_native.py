"""Compiled convolutions equal their definition and stay where they belong."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.nn import conv2d, conv_forms, fast_forms, max_pool, native
from jaxcnn.nn.conv_forms import Window

pytestmark = pytest.mark.skipif(
    not native.available(), reason="built without a C++ compiler, or no AVX2"
)

# Images, height, width, channels, filters; then kernel, stride, padding, dilation.
SHAPES = [
    ((3, 9, 12, 32, 48), (3, 1, 1, 1)),  # Winograd, odd rows
    ((70, 4, 3, 32, 32), (3, 1, 1, 1)),  # Winograd, tiles of several images at once
    ((2, 7, 8, 64, 32), (3, 1, 0, 1)),  # Winograd without padding
    ((1, 6, 5, 32, 64), (3, 1, 2, 1)),  # Winograd with more padding than keeps the size
    ((2, 11, 9, 16, 16), (3, 1, 1, 1)),
    ((9, 23, 24, 3, 32), (7, 2, 3, 1)),  # a stem
    ((2, 15, 16, 48, 32), (3, 2, 1, 1)),
    ((2, 13, 12, 16, 32), (3, 3, 0, 1)),  # pixels under no tap
    ((2, 14, 13, 32, 16), (3, 1, 2, 2)),
    ((2, 12, 15, 32, 16), (3, 2, 2, 2)),
    ((1, 20, 21, 16, 48), (5, 1, 2, 1)),
    ((17, 8, 8, 160, 32), (1, 1, 0, 1)),
    ((3, 8, 8, 160, 32), (1, 2, 0, 1)),
    ((3, 7, 7, 144, 16), (1, 2, 0, 1)),
    ((2, 5, 5, 16, 16), (1, 1, 1, 1)),
    ((5, 13, 11, 64, 80), (1, 1, 0, 1)),  # rows of 84 pixels, and what is left of them
    ((2, 9, 7, 1024, 48), (1, 1, 0, 1)),  # pixels a page apart
    ((2, 9, 8, 512, 32), (1, 2, 0, 1)),  # every other of them
    ((2, 5, 6, 400, 416), (1, 1, 0, 1)),  # a kernel too large for a copy per part
    ((1, 3, 3, 16, 256), (3, 1, 1, 1)),
    ((1, 1, 1, 16, 16), (3, 1, 1, 1)),
]


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def arrays(shape, window):
    images, height, width, channels, filters = shape
    x = normal((images, height, width, channels), 0)
    return x, normal((window[0], window[0], channels, filters), 1)


def by_definition(x, kernel, stride, padding, dilation):
    """The sum over taps in float64, `[B, H', W', F]`."""
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    reach = dilation * (kernel.shape[0] - 1)
    out = [(n - reach - 1) // stride + 1 for n in x.shape[1:3]]
    y = np.zeros((x.shape[0], *out, kernel.shape[3]))
    for row, column in np.ndindex(kernel.shape[:2]):
        rows = slice(row * dilation, row * dilation + (out[0] - 1) * stride + 1, stride)
        columns = slice(column * dilation, column * dilation + (out[1] - 1) * stride + 1, stride)
        y += x[:, rows, columns] @ kernel[row, column]
    return y


def assert_near(found, expected, tolerance=3e-6):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(params=["avx512", "avx2"])
def instructions(request):
    from jaxcnn.nn import _conv

    if not _conv.use(request.param):
        pytest.skip(f"this processor has no {request.param}")
    yield
    _conv.use("")


@pytest.mark.parametrize(("shape", "window"), SHAPES)
def test_convolution_is_the_sum_of_its_definition(shape, window, instructions):
    x, kernel = arrays(shape, window)
    stride, padding, dilation = window[1:]
    found = jax.jit(lambda x, k: conv2d(x, k, stride=stride, padding=padding, dilation=dilation))(
        jnp.float32(x), jnp.float32(kernel)
    )
    assert_near(found, by_definition(x, kernel, stride, padding, dilation))


@pytest.mark.parametrize(("shape", "window"), SHAPES)
def test_both_gradients_are_the_transposes_of_the_convolution(shape, window, instructions):
    # <dy, conv(x, k)> = <x, image gradient> = <k, kernel gradient>, and each entry against XLA's.
    x, kernel = (jnp.float32(a) for a in arrays(shape, window))
    options = dict(zip(("stride", "padding", "dilation"), window[1:], strict=True))

    def gradients(x, kernel, dy):
        return jax.vjp(lambda x, k: conv2d(x, k, **options), x, kernel)[1](dy)

    dy = jnp.float32(normal(jax.eval_shape(lambda: conv2d(x, kernel, **options)).shape, 2))
    found = jax.jit(gradients)(x, kernel, dy)
    with fast_forms(False):
        expected = jax.jit(gradients)(x, kernel, dy)
    for a, b in zip(found, expected, strict=True):
        assert_near(a, np.asarray(b))
    product = np.vdot(np.float64(dy), by_definition(x, kernel, *window[1:]))
    for value, gradient in zip((x, kernel), found, strict=True):
        size = np.linalg.norm(np.float64(value)) * np.linalg.norm(np.float64(gradient))
        assert abs(np.vdot(np.float64(value), np.float64(gradient)) - product) < 1e-6 * size


# The same, and groups: of which some are joined to fill vectors, none are, or all.
GROUPS = [
    ((3, 9, 8, 64, 64), (3, 1, 1, 1), 16),
    ((2, 10, 11, 64, 128), (3, 2, 1, 1), 2),
    ((2, 7, 7, 32, 64), (3, 1, 1, 1), 4),
    ((2, 9, 8, 32, 32), (5, 2, 2, 1), 32),  # depthwise
    ((2, 8, 7, 96, 96), (1, 1, 0, 1), 6),
    ((2, 9, 7, 96, 48), (1, 2, 0, 1), 3),
    ((2, 9, 7, 32, 32), (3, 1, 0, 2), 2),
]


def whole_kernel(kernel, groups):
    """That of the same convolution without groups."""
    height, width, channels, filters = kernel.shape
    whole = np.zeros((height, width, channels * groups, filters))
    for group in range(groups):
        own = slice(group * filters // groups, (group + 1) * filters // groups)
        whole[:, :, group * channels : (group + 1) * channels, own] = kernel[..., own]
    return whole


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("shape", "window", "groups"), GROUPS)
def test_groups_are_a_convolution_whose_kernel_is_zero_between_them(
    shape, window, groups, compiled, instructions, monkeypatch
):
    if not compiled:  # the forms for several devices, or without a compiler
        monkeypatch.setattr(native, "available", lambda: False)
        jax.clear_caches()
    images, height, width, channels, filters = shape
    x = normal((images, height, width, channels), 0)
    kernel = normal((window[0], window[0], channels // groups, filters), 1)
    options = dict(zip(("stride", "padding", "dilation"), window[1:], strict=True))

    def run(x, kernel, dy):
        y, transpose = jax.vjp(lambda x, k: conv2d(x, k, groups=groups, **options), x, kernel)
        return y, *transpose(dy)

    expected = by_definition(x, whole_kernel(kernel, groups), *window[1:])
    dy = normal(expected.shape, 2)
    arrays = [jnp.float32(a) for a in (x, kernel, dy)]
    names = ["convolve", "image_gradient", "kernel_gradient"] if compiled else []
    assert sorted(compiled_calls(jax.jit(run), *arrays)) == [f"jaxcnn_{n}" for n in names]
    y, dx, dkernel = jax.jit(run)(*arrays)
    assert_near(y, expected)
    with fast_forms(False):
        plain = jax.jit(run)(*arrays)
    for found, value in zip((dx, dkernel), plain[1:], strict=True):
        assert_near(found, np.asarray(value))
    if not compiled:
        jax.clear_caches()


POOLS = [
    ((2, 12, 11, 64), {"window": 3, "stride": 2, "padding": 1}),
    ((3, 9, 8, 21), {"window": 3, "stride": 1, "padding": 1}),  # channels that fill no vectors
    ((2, 7, 10, 16), {"window": (2, 3), "stride": (2, 3), "padding": 0}),
    ((1, 8, 8, 130), {"window": 2, "stride": 3, "padding": 0}),  # pixels in no window
]


@pytest.mark.parametrize(("shape", "options"), POOLS)
def test_the_first_largest_pixel_of_a_window_gets_its_gradient(shape, options, instructions):
    # Few values, so that most windows hold their largest more than once.
    x = jnp.float32(np.random.default_rng(0).integers(-2, 3, shape))

    def gradient(x, dy):
        return jax.vjp(lambda x: max_pool(x, **options), x)[1](dy)[0]

    dy = jnp.float32(normal(jax.eval_shape(lambda: max_pool(x, **options)).shape, 1))
    assert compiled_calls(jax.jit(gradient), x, dy) == ["jaxcnn_pool_gradient"]
    with fast_forms(False):
        expected = jax.jit(gradient)(x, dy)
    np.testing.assert_allclose(jax.jit(gradient)(x, dy), expected, rtol=0, atol=1e-6)


def test_padding_never_gets_the_gradient_of_a_window_and_a_nan_does(instructions):
    x = np.full((1, 3, 3, 16), -np.inf, np.float32)
    x[0, 1, 2, 5] = np.nan
    gradient = jax.grad(lambda x: max_pool(x, window=2, stride=2, padding=1).sum())
    # Four windows: pixel (0, 0), (0, 1) to (0, 2), (1, 0) and (2, 0), and the other four.
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    expected = np.zeros_like(x)
    for row, column in places:
        expected[0, row, column] = 1
    expected[0, 1, 1, 5], expected[0, 1, 2, 5] = 0, 1
    np.testing.assert_array_equal(jax.jit(gradient)(x), expected)


def compiled_calls(step, *arrays):
    text = step.lower(*arrays).compile().as_text()
    return re.findall(r'custom_call_target="(jaxcnn\w+)"', text)


def test_a_program_for_a_cpu_calls_them():
    x, kernel = jnp.ones((4, 8, 8, 16)), jnp.ones((3, 3, 16, 16))
    step = jax.jit(jax.grad(lambda k, x: jnp.sum(conv2d(x, k, padding=1) ** 2)))
    assert sorted(compiled_calls(step, kernel, x)) == ["jaxcnn_convolve", "jaxcnn_kernel_gradient"]


def test_half_precision_and_odd_filters_are_left_to_xla():
    for x, kernel, groups in (
        (jnp.ones((1, 8, 8, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 16), jnp.bfloat16), 1),
        (jnp.ones((1, 8, 8, 48)), jnp.ones((3, 3, 24, 20)), 2),
        (jnp.ones((1, 8, 8, 16)), jnp.ones((3, 3, 16, 10)), 1),
    ):
        step = jax.jit(lambda x, k, groups=groups: conv2d(x, k, padding=1, groups=groups))
        assert compiled_calls(step, x, kernel) == []


def test_empty_outputs_are_left_to_xla():
    x, window = jnp.ones((1, 1, 1, 16)), Window((1, 1), (0, 0), (1, 1), 1)
    kernel = jnp.ones((3, 3, 16, 16))
    step = jax.jit(jax.grad(lambda k, x: jnp.sum(conv_forms.conv(x, k, window=window)), (0, 1)))
    assert compiled_calls(step, kernel, x) == []  # they divide by the number of pixels
    for gradient in step(kernel, x):
        np.testing.assert_array_equal(gradient, 0)
    no_filters = jax.jit(jax.grad(lambda k: jnp.sum(conv2d(jnp.ones((2, 8, 8, 16)), k))))
    assert compiled_calls(no_filters, jnp.ones((3, 3, 16, 0))) == []


@pytest.mark.slow
def test_the_sums_do_not_depend_on_the_number_of_threads():
    program = (
        "import jax, numpy as np, hashlib\n"
        "from jaxcnn.nn import conv2d\n"
        "def run(c, f, k, s, p):\n"
        "    r = np.random.default_rng(0)\n"
        "    x, w = r.normal(size=(16, 14, 14, c)), r.normal(size=(k, k, c, f))\n"
        "    g = jax.jit(jax.grad(lambda a: (conv2d(*a, stride=s, padding=p) ** 3).sum()))\n"
        "    return [a.tobytes() for a in map(np.asarray, g((np.float32(x), np.float32(w))))]\n"
        "cases = (64, 64, 3, 1, 1), (16, 16, 3, 1, 1), (256, 128, 1, 1, 0), (64, 96, 3, 2, 1)\n"
        "print(hashlib.sha256(b''.join(sum((run(*c) for c in cases), []))).hexdigest())\n"
    )
    digests = set()
    for cores in ({0}, set(range(os.cpu_count() or 1))):
        digests.add(
            subprocess.run(
                [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {cores})\n{program}"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    assert len(digests) == 1


@pytest.mark.slow
def test_switched_off_nothing_compiled_is_called():
    program = (
        "import jax, jax.numpy as jnp\nfrom jaxcnn.nn import conv2d, native\n"
        "x, kernel = jnp.ones((1, 8, 8, 16)), jnp.ones((3, 3, 16, 16))\n"
        "text = jax.jit(conv2d).lower(x, kernel).as_text()\n"
        "print(native.available(), '@jaxcnn' in text)\n"
    )
    environment = {**os.environ, native.SWITCH: "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_functions_of_another_version_are_not_called_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(native, "INTERFACE", native.INTERFACE + 1)
    assert not native.available.__wrapped__()
    assert "Install jaxcnn again" in caplog.text
