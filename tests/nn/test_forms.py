"""Fast forms equal the plain ones, through every transformation, and stay where they belong."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.nn import conv2d, fast_forms, max_pool

CONVOLUTIONS = [  # x, kernel, options
    ((2, 7, 6, 5), (1, 1, 5, 7), {}),
    ((2, 7, 6, 7), (1, 1, 7, 3), {"stride": 2}),
    ((1, 8, 9, 4), (1, 1, 4, 4), {"stride": (3, 2)}),
    # Compiled, where the library is built so.
    ((2, 5, 6, 32), (3, 3, 32, 32), {"padding": 1}),
    ((1, 8, 9, 16), (3, 3, 16, 16), {"stride": (2, 1), "padding": 1}),
]
POOLS = [  # x, options
    ((2, 7, 8, 5), {"window": 3, "stride": 2, "padding": 1}),
    ((2, 7, 8, 5), {"window": 2}),
    ((1, 8, 9, 3), {"window": 3, "stride": 1, "padding": 1}),
    ((1, 8, 9, 3), {"window": 3, "stride": 2, "ceil_mode": True}),
    ((1, 11, 8, 3), {"window": (2, 3), "stride": (3, 1)}),
    ((1, 9, 9, 2), {"window": 2, "stride": 3}),
]


def normal(shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def both(function, *arrays):
    """The result in the fast and in the plain forms."""
    fast = jax.jit(function)(*arrays)
    with fast_forms(False):
        return fast, jax.jit(function)(*arrays)


def assert_close(pair, tolerance):
    fast, plain = (jax.tree.leaves(x) for x in pair)
    for a, b in zip(fast, plain, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()))


def transformations(loss, arguments):
    """Named functions of the arguments of `loss` that ask for each kind of derivative."""
    gradient = jax.grad(loss, arguments)

    def norm(*xs):
        return sum(jnp.sum(jnp.sin(g)) for g in gradient(*xs))

    return {
        "value": loss,
        "gradient": gradient,
        "forward mode": lambda *xs: jax.jvp(loss, xs, xs)[1],
        "forward over reverse": lambda *xs: jax.jvp(gradient, xs, xs)[1],
        "reverse over reverse": jax.grad(norm, arguments),
        "map of all": lambda *xs: jax.vmap(gradient)(*(jnp.stack([x, 2 * x], 1) for x in xs)),
    }


@pytest.mark.parametrize(("x", "kernel", "options"), CONVOLUTIONS)
def test_fast_convolution_is_the_plain_one_in_value_and_every_derivative(x, kernel, options):
    # Kernels of a network's size: outputs of about one.
    x, kernel = normal(x), normal(kernel, 1) / np.sqrt(np.prod(kernel[:3]))

    def loss(x, k):
        return jnp.sum(jnp.sin(conv2d(x, k, **options)))

    cases = transformations(loss, (0, 1))
    cases["map of all"] = lambda x, k: jax.vmap(jax.grad(loss, (0, 1)), (1, -1))(
        jnp.stack([x, 2 * x], 1), jnp.stack([k, -k], -1)
    )
    cases["map of images"] = lambda x, k: jax.vmap(jax.grad(loss, (0, 1)), (2, None))(
        jnp.stack([x, 2 * x], 2), k
    )
    cases["map of kernels"] = lambda x, k: jax.vmap(jax.grad(loss, (0, 1)), (None, 0))(
        x, jnp.stack([k, -k])
    )
    assert_close(both(lambda *a: {n: f(*a) for n, f in cases.items()}, x, kernel), 1e-5)


@pytest.mark.parametrize(("x", "options"), POOLS)
def test_fast_pooling_is_the_plain_one_in_value_and_every_derivative(x, options):
    x = normal(x)

    def loss(x):
        return jnp.sum(jnp.sin(max_pool(x, **options)))

    cases = transformations(loss, (0,))
    cases["map of all"] = lambda x: jax.vmap(jax.grad(loss), -1)(jnp.stack([x, 2 * x], -1))
    assert_close(both(lambda x: {n: f(x) for n, f in cases.items()}, x), 1e-6)


@pytest.mark.parametrize("options", [o for _, o in POOLS])
def test_the_first_of_equal_values_in_a_window_gets_the_gradient(options):
    ties = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 12, 12, 2)), jnp.float32)
    weights = normal(jax.eval_shape(functools.partial(max_pool, **options), ties).shape, 1)
    fast, plain = both(jax.grad(lambda x: jnp.sum(weights * max_pool(x, **options))), ties)
    np.testing.assert_allclose(fast, plain, rtol=1e-6, atol=1e-6)
    if options == {"window": 2}:
        np.testing.assert_array_equal(
            jax.grad(lambda x: jnp.sum(max_pool(x, 2)))(jnp.zeros((1, 2, 2, 1)))[0, :, :, 0],
            [[1, 0], [0, 0]],
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_fast_forms_keep_half_precision(dtype):
    x, kernel = normal((2, 8, 8, 16), 0, dtype), normal((1, 1, 16, 8), 1, dtype)

    def loss(x, k):
        return jnp.sum(max_pool(conv2d(x, k, stride=2), 2).astype(jnp.float32))

    assert_close(both(jax.value_and_grad(loss, (0, 1)), x, kernel), 2e-2)


def test_the_switch_reaches_functions_that_were_compiled_before():
    x, kernel = normal((1, 4, 4, 2)), normal((1, 1, 2, 2))

    @jax.jit
    def network(x, kernel):
        return max_pool(conv2d(x, kernel), 2)

    def trace():
        (call,) = jax.make_jaxpr(network)(x, kernel).jaxpr.eqns
        return {eqn.primitive.name for eqn in call.params["jaxpr"].eqns}

    network(x, kernel)
    assert trace() == {"conv2d", "max_pool"}
    with fast_forms(False):
        network(x, kernel)
        assert trace() == {"conv_general_dilated", "reduce_window_max"}
        with fast_forms(True):
            assert trace() == {"conv2d", "max_pool"}
    assert trace() == {"conv2d", "max_pool"}


def test_other_platforms_compile_their_own_operations():
    x, kernel = normal((1, 8, 8, 2)), normal((1, 1, 2, 2))

    def loss(x, kernel):
        return jnp.sum(max_pool(conv2d(x, kernel), 3, stride=2, padding=1))

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    words = ("convolution", "select_and_scatter", "dot_general")
    for platform, counts in {"cuda": (3, 1, 0), "tpu": (3, 1, 0), "cpu": (0, 0, 3)}.items():
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        found = tuple(len(re.findall(rf"stablehlo\.{word}\W", text)) for word in words)
        assert found == counts


def test_other_platforms_compile_their_own_operations_on_several_devices_too():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x, kernel = jax.device_put(normal((16, 8, 8, 16)), spec), normal((3, 3, 16, 16))

    def loss(x, kernel):
        return jnp.sum(max_pool(conv2d(x, kernel), 2))

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert len(re.findall(r"stablehlo\.convolution\W", text)) == 3
        assert "custom_call" not in text


def test_forms_run_without_jit():
    x, kernel = normal((1, 4, 4, 2)), normal((1, 1, 2, 3))
    expected = max_pool(conv2d(x, kernel), 2)
    with jax.disable_jit():
        found = max_pool(conv2d(x, kernel), 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
