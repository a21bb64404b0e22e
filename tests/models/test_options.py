"""What the fields of the networks do: heads, channels, first values, recomputation, early taps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from flax import linen as nn

from jaxcnn.models import cifar_resnet, create_model, features, googlenet, model_info, resnet, vgg
from jaxcnn.nn import BasicBlock, Bottleneck, NormConfig, fast_forms
from jaxcnn.weights import from_torch, names

FAMILIES = (
    *("mlp", "small_cnn", "lenet5", "cifar_resnet20", "alexnet", "alexnet_paper", "vgg11"),
    *("vgg11_bn", "googlenet", "googlenet_paper", "resnet18", "resnet50", "plain18"),
)


def _shapes(name, channels, **fields):
    info, model = model_info(name), create_model(name, **fields)
    images = jax.ShapeDtypeStruct((2, *info.image_size, channels), jnp.float32)
    return model, jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


def _weights(model):
    return from_torch({k: recipe.tensor(k, shape) for k, shape in names(model).items()}, model)


@pytest.mark.parametrize("name", FAMILIES)
def test_any_number_of_channels_changes_the_first_kernel_alone(name):
    def kernels(channels):
        leaves = jax.tree_util.tree_leaves_with_path(_shapes(name, channels)[1]["params"])
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}

    three, five = kernels(3), kernels(5)
    (changed,) = [path for path in three if three[path] != five[path]]
    axis = -2 if len(three[changed]) == 4 else 0
    assert five[changed][axis] * 3 == three[changed][axis] * 5


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_too_small_for_the_strides_is_one_error(name):
    info, model = model_info(name), create_model(name)
    side = info.min_size - 1
    images = jax.ShapeDtypeStruct((1, side, side, info.channels), jnp.float32)
    with pytest.raises(ValueError, match=f"at least {info.min_size}x{info.min_size} pixels, not"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    smallest = jax.ShapeDtypeStruct((1, side + 1, side + 1, info.channels), jnp.float32)
    jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), smallest)


@pytest.mark.parametrize("name", ["small_cnn", "alexnet", "resnet18"])
def test_channels_first_are_told_to_go_last(name):
    images = jax.ShapeDtypeStruct((2, 3, 224, 224), jnp.float32)
    with pytest.raises(ValueError, match=r"channels last; \(2, 3, 224, 224\) looks like"):
        jax.eval_shape(lambda x: create_model(name).init(jax.random.key(0), x, train=False), images)


def test_one_tap_may_be_named_alone():
    model, variables = _shapes("resnet18", 3)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    maps = jax.eval_shape(lambda v, x: features(model, v, x, "stage4"), variables, images)
    assert {name: value.shape for name, value in maps.items()} == {"stage4": (2, 2, 2, 512)}


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "googlenet", "resnet50", "cifar_resnet20"])
def test_an_unknown_tap_is_one_error_that_suggests(name):
    model, variables = _shapes(name, 3)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with pytest.raises(ValueError, match=r"has no tap 'stag1' \(did you mean 'stage1'\?\); it has"):
        jax.eval_shape(lambda v, x: features(model, v, x, ["stag1"]), variables, images)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "googlenet", "resnet50", "cifar_resnet20"])
def test_an_early_tap_under_jit_computes_nothing_behind_it(name):
    model, variables = _shapes(name, 3)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with fast_forms(False):  # XLA's own count of a convolution's products is asked for.
        program = jax.jit(lambda v, x: features(model, v, x, ["stem"])).lower(variables, images)
    text = program.compile().as_text()
    # One convolution in the machine's program, and no matrix product.
    assert text.count(" convolution(") == 1 and text.count(" dot(") == 0
    layer = jax.tree_util.tree_leaves_with_path(variables["params"])
    kernel = (
        next(x.shape for path, x in layer if "stem" in str(path) and x.ndim == 4)
        if (name not in ("alexnet", "vgg11"))
        else {"alexnet": (11, 11, 3, 64), "vgg11": (3, 3, 3, 64)}[name]
    )
    stride = model.taps[0].stride
    units = {"alexnet": 15}.get(name, 64 // stride)  # (64 + 2 * 2 - 11) // 4 + 1
    flops = program.compile().cost_analysis()["flops"]
    products = 2 * units**2 * np.prod(kernel)
    assert 0.8 * products < flops < 1.3 * products


def test_pooled_features_are_what_the_head_reads():
    for model in (
        cifar_resnet.CifarResNet(spec=cifar_resnet.Spec(8, "B"), num_classes=5),
        resnet.ResNet(spec=resnet.Spec("basic", (1, 1, 1, 1)), num_classes=5),
    ):
        variables = _weights(model)
        images = np.random.default_rng(0).standard_normal((2, 40, 40, 3)).astype(np.float32)

        @jax.jit
        def run(variables, images, model=model):
            logits = model.apply(variables, images, train=False)
            headless = model.clone(num_classes=0)
            params = {k: v for k, v in variables["params"].items() if k != "head"}
            pooled = headless.apply({**variables, "params": params}, images, train=False)
            last = list(features(model, variables, images).values())[-1]
            return logits, pooled, last

        logits, pooled, last = run(variables, images)
        np.testing.assert_allclose(pooled, last.mean((1, 2)), rtol=1e-5, atol=1e-5)
        head = variables["params"]["head"]
        np.testing.assert_allclose(
            logits, pooled @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("name", "width"), [("alexnet", 4096), ("vgg11", 4096), ("googlenet", 1024)]
)
def test_without_classes_there_is_no_head_and_no_auxiliary_one(name, width):
    model, variables = _shapes(name, 3, num_classes=0)
    assert not {"head", "aux1", "aux2"} & variables["params"].keys()
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images)
    assert out.shape == (2, width)


def test_googlenet_has_two_auxiliary_heads_unless_they_are_left_out():
    assert {"aux1", "aux2"} <= _shapes("googlenet", 3)[1]["params"].keys()
    without, variables = _shapes("googlenet", 3, aux_heads=False)
    assert not {"aux1", "aux2"} & variables["params"].keys()
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    rngs = {"dropout": jax.random.key(0)}

    def train(v, x):
        return without.apply(v, x, train=True, rngs=rngs, mutable=["batch_stats", "aux_logits"])[1]

    assert "aux_logits" not in jax.eval_shape(train, variables, images)


@pytest.mark.parametrize(
    "block", [BasicBlock(4, zero_init=True), Bottleneck(2, features=4, zero_init=True)]
)
def test_a_block_whose_last_scale_starts_at_zero_is_the_identity(block):
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype(np.float32)
    variables = block.init(jax.random.key(0), x, train=False)
    y, _ = block.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_zero_init_is_off_by_default_and_without_effect_in_a_plain_network():
    def asked(name, **fields):
        found = set()

        def look(call, args, kwargs, context):
            if isinstance(context.module, BasicBlock | Bottleneck):
                found.add(context.module.zero_init)
            return call(*args, **kwargs)

        with nn.intercept_methods(look):
            _shapes(name, 3, **fields)
        return found

    assert asked("resnet50") == {False}
    assert asked("resnet50", zero_init=True) == asked("resnet18", zero_init=True) == {True}
    assert asked("plain18", zero_init=True) == {False}


REMAT = {
    "cifar_resnet": lambda **f: cifar_resnet.CifarResNet(spec=cifar_resnet.Spec(8, "B"), **f),
    "resnet": lambda **f: resnet.ResNet(
        spec=resnet.Spec("bottleneck", (1, 1, 1, 1)), num_classes=3, **f
    ),
    "vgg": lambda **f: vgg.VGG(
        spec=vgg.Spec((1, 1, 1, 1, 1), True), num_classes=0, norm=NormConfig(), **f
    ),
    "googlenet": lambda **f: googlenet.GoogLeNet(
        spec=googlenet.SPECS["googlenet"],
        num_classes=3,
        aux_heads=False,
        norm=NormConfig(epsilon=1e-3),
        **f,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", REMAT)
def test_recomputing_changes_neither_names_nor_values_nor_gradients(family, monkeypatch):
    few = {stage: {"a": googlenet.STAGES[stage]["a"]} for stage in googlenet.STAGES}
    monkeypatch.setattr(googlenet, "STAGES", few)
    monkeypatch.setattr(vgg, "HIDDEN", 8)
    images = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype(np.float32)
    kept, again = REMAT[family](), REMAT[family](remat=True)
    init = jax.jit(lambda: kept.init(jax.random.key(0), images, train=False))
    variables = init()
    shapes = jax.eval_shape(lambda: again.init(jax.random.key(0), images, train=False))
    assert jax.tree.structure(shapes) == jax.tree.structure(variables)

    def run(model):
        def loss(params):
            out, updated = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                rngs={"dropout": jax.random.key(1)},
                mutable=["batch_stats"],
            )
            return jnp.sum(jnp.sin(out)), updated

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    (value, stats), grads = run(kept)
    (value2, stats2), grads2 = run(again)
    np.testing.assert_allclose(value2, value, rtol=1e-5)
    for a, b in zip(
        jax.tree.leaves((stats, grads)), jax.tree.leaves((stats2, grads2)), strict=True
    ):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * np.abs(a).max())
    text = jax.jit(
        jax.grad(lambda p: again.apply({**variables, "params": p}, images, train=False).sum())
    )
    assert "optimization_barrier" in text.lower(variables["params"]).as_text()
