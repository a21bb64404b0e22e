"""Programs for several CPU devices call compiled functions on what each device holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn.nn import conv2d, max_pool, native

pytestmark = pytest.mark.skipif(
    not native.available(), reason="built without a C++ compiler, or no AVX2"
)

IMAGES, CHANNELS = 16, 32


def mesh(**axes):
    auto = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=auto)


def arrays(images=IMAGES):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, CHANNELS, CHANNELS)) / np.sqrt(9 * CHANNELS)
    return np.float32(kernel), np.float32(rng.normal(size=(images, 8, 8, CHANNELS)))


def network(kernel, x):
    x = jnp.sin(conv2d(x, kernel, padding=1))
    return jnp.sum(jnp.sin(conv2d(max_pool(x, 2), kernel, stride=2)))


gradients = jax.grad(network, (0, 1))


def summed_gradients(axes):
    def function(kernel, x):
        of_kernel, of_image = gradients(kernel, x)
        return lax.psum(of_kernel, axes), of_image

    return function


def assert_close(found, expected, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        b = np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def compiled(step, *arguments):
    """The result, the program, and how its compiled calls' results begin: `([parts,] images)`.

    A kernel's gradient has no images.
    """
    program = step.lower(*arguments).compile()
    text = program.as_text()
    calls = re.findall(r'= f32\[([\d,]+)\].* custom_call_target="jaxcnn_(\w+)"', text)
    shapes = ((tuple(map(int, shape.split(","))), name) for shape, name in calls)
    leading = {s[:-4] if name == "kernel_gradient" else s[:-3] for s, name in shapes}
    return program(*arguments), text, leading


def placed(names, kernel, x, kernel_spec, x_spec):
    return (
        jax.device_put(kernel, NamedSharding(names, kernel_spec)),
        jax.device_put(x, NamedSharding(names, x_spec)),
    )


DATA = {"data": 8}
BOTH = {"data": 4, "model": 2}
SHARDINGS = [  # mesh, kernel, images, and whether XLA has to gather any of them
    (DATA, P(), P("data"), False),
    (DATA, P(), P(), False),
    (DATA, P(None, None, None, "data"), P("data"), True),  # the kernel in pieces, as in fsdp
    (DATA, P(None, None, "data"), P(), True),
    (DATA, P(), P(None, "data"), True),  # rows of images
    (BOTH, P(), P("data"), False),
    (BOTH, P(), P("model"), False),
    (BOTH, P(), P(("data", "model")), False),
    (BOTH, P(), P(("model", "data")), False),
    (BOTH, P(None, None, None, "model"), P("data"), True),
    (BOTH, P(None, None, "model"), P("data", None, None, "model"), True),
]


@pytest.mark.parametrize(("axes", "kernel_spec", "x_spec", "gathers"), SHARDINGS)
def test_any_sharding_gives_what_one_device_gives(axes, kernel_spec, x_spec, gathers):
    names, (kernel, x) = mesh(**axes), arrays()
    split = placed(names, kernel, x, kernel_spec, x_spec)
    found, text, leading = compiled(jax.jit(gradients), *split)
    assert_close(found, jax.jit(gradients)(kernel, x))
    assert ("all-gather" in text) == gathers
    assert not re.search(r"\bconvolution\(", text)
    # Each device has its own images only: two in a call, and as many calls as it has parts.
    holders = np.prod([axes[a] for a in np.ravel(x_spec[0])]) if x_spec and x_spec[0] else 1
    parts = 8 // holders
    assert leading == {(parts, 2), (parts,)}


def test_a_kernel_is_summed_over_devices_once():
    _, text, _ = compiled(jax.jit(gradients), *placed(mesh(data=8), *arrays(), P(), P("data")))
    assert len(re.findall(r"all-reduce\(", text)) == 1


@pytest.mark.parametrize("images", [12, 5, 1])
def test_images_that_the_devices_do_not_divide(images):
    kernel, x = arrays(images)
    found, _, leading = compiled(jax.jit(gradients), *placed(mesh(data=8), kernel, x, P(), P()))
    assert_close(found, jax.jit(gradients)(kernel, x))
    # Of 12 four parts; what cannot be cut is left to XLA.
    assert leading == ({(4, 3), (4,)} if images == 12 else set())


def mapped(function, kernel_spec, x_spec, **options):
    specs = (kernel_spec, x_spec)
    return jax.shard_map(function, in_specs=specs, out_specs=specs, check_vma=False, **options)


def test_maps_over_devices_call_them_on_each_devices_images():
    kernel, x = arrays()
    expected = jax.jit(gradients)(kernel, x)
    body = summed_gradients("data")
    step = jax.jit(mapped(body, P(), P("data"), mesh=mesh(data=8)))
    found, _, leading = compiled(step, kernel, x)
    assert_close(found, expected)
    assert leading == {(2,), ()}

    step = jax.pmap(body, axis_name="data", in_axes=(None, 0))
    found, _, leading = compiled(step, kernel, x.reshape(8, 2, *x.shape[1:]))
    assert_close((found[0][3], found[1].reshape(x.shape)), expected)
    assert leading == {(2,), ()}


def test_maps_over_some_axes_leave_the_others_to_xla_and_nested_ones_do_not():
    names, (kernel, x) = mesh(**BOTH), arrays()
    expected = jax.jit(gradients)(kernel, x)
    body = summed_gradients("data")
    some = mapped(body, P(), P("data"), mesh=names, axis_names={"data"})
    found, _, leading = compiled(jax.jit(some), kernel, x)
    assert_close(found, expected)
    assert leading == set()

    def outer(kernel, x):
        inner = mapped(summed_gradients("model"), P(), P("model"), axis_names={"model"})
        of_kernel, of_image = inner(kernel, x)
        return lax.psum(of_kernel, "data"), of_image

    nested = mapped(outer, P(), P("data"), mesh=names, axis_names={"data"})
    found, _, leading = compiled(jax.jit(nested), kernel, x)
    assert_close(found, expected)
    assert leading == {(2,), ()}


def test_one_program_may_hold_a_map_and_the_same_convolutions_outside_of_it():
    names, (kernel, x) = mesh(data=8), arrays()
    step = jax.jit(gradients)
    copies = jnp.concatenate([x] * 8)  # of which each device has as many images as there are in x

    def both(kernel, x, copies):
        def body(kernel, x):
            of_kernel, of_image = step(kernel, x)
            return lax.psum(of_kernel, "data"), of_image

        inside = mapped(body, P(), P("data"), mesh=names)(kernel, copies)
        return step(kernel, x), inside

    split = placed(names, kernel, x, P(), P("data"))
    found, _, leading = compiled(jax.jit(both), *split, copies)
    of_kernel, of_image = step(kernel, x)
    assert_close(found[0], (of_kernel, of_image))
    assert_close(found[1], (8 * of_kernel, jnp.concatenate([of_image] * 8)))
    assert leading == {(1, 2), (1,), (16,), ()}


def test_steps_in_a_scan_with_rematerialisation_give_what_one_device_gives():
    def steps(kernel, x):
        def one(kernel, _):
            of_kernel, of_image = jax.grad(jax.checkpoint(network), (0, 1))(kernel, x)
            return kernel - 1e-3 * of_kernel, jnp.sum(of_image**2)

        return lax.scan(one, kernel, None, length=20)

    kernel, x = arrays()
    found, text, leading = compiled(
        jax.jit(steps), *placed(mesh(data=8), kernel, x, P(), P("data"))
    )
    assert_close(found, jax.jit(steps)(kernel, x), 1e-5)
    assert leading == {(1, 2), (1,)}
    assert "all-gather" not in text


@pytest.mark.slow
def test_another_process_finds_the_compiled_program_in_the_cache(tmp_path):
    program = (
        "import jax, jax.numpy as jnp\nfrom jax.sharding import NamedSharding, PartitionSpec as P\n"
        "found = []\n"
        "jax.monitoring.register_event_listener(lambda event, **_: found.append(event))\n"
        "from jaxcnn.nn import conv2d\n"
        "mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))\n"
        "x = jax.device_put(jnp.ones((16, 8, 8, 16)), NamedSharding(mesh, P('data')))\n"
        "kernel = jax.device_put(jnp.ones((3, 3, 16, 16)), NamedSharding(mesh, P()))\n"
        "step = jax.jit(jax.grad(lambda k, x: jnp.sum(conv2d(x, k) ** 2)))\n"
        "found.clear()\n"
        "compiled = step.lower(kernel, x).compile()\n"
        "hit = '/jax/compilation_cache/cache_hits' in found\n"
        "print('jaxcnn' in compiled.as_text(), hit, float(compiled(kernel, x).sum()))\n"
    )
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert [words[:2] for words in said] == [["True", "False"], ["True", "True"]]
    assert said[0][2] == said[1][2]
