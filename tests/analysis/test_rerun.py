"""A program run again gives what it gave, loops, branches and recomputed blocks included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis.rerun import bind, rerun
from jaxcnn.weights.padding import repadded


def network(kernel, x):
    x = jax.lax.conv(x, kernel, (2, 2), "VALID")
    x = jax.lax.fori_loop(0, 3, lambda i, v: 2 * v + i, x)
    x = jax.lax.cond(x.mean() > 0, jnp.sin, jnp.cos, x)
    x = jax.checkpoint(lambda v: jax.nn.relu(jax.jit(jnp.square)(v) - 0.1))(x)
    return x.sum((2, 3)), jax.nn.gelu(x)


def test_a_program_run_again_gives_the_same_and_loops_run_whole():
    rng = np.random.default_rng(0)
    kernel, x = (rng.normal(size=s).astype("f4") for s in ((3, 2, 3, 3), (1, 2, 9, 9)))
    seen = []

    def step(eqn, values):
        seen.append(eqn.primitive.name)
        return bind(eqn, values)

    expected = network(kernel, x)
    found = rerun(jax.make_jaxpr(network)(kernel, x), (kernel, x), step)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert seen.count("conv_general_dilated") == seen.count("cond") == 1
    assert {"scan", "while"} & set(seen)
    assert not {"jit", "checkpoint", "custom_jvp_call"} & set(seen)

    same = repadded(network, ("conv_general_dilated",), "VALID", kernel, x)
    for a, b in zip(same, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
