"""Regimes of transfer learning: what trains, how fast, and that the rest stays as it is."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import parallel
from jaxcnn.models import create_model, features
from jaxcnn.nn import conv2d, fast_forms
from jaxcnn.train.config import OptimizerConfig
from jaxcnn.train.optimizer import make_optimizer
from jaxcnn.train.setup import with_norm
from jaxcnn.train.state import create_state
from jaxcnn.train.step import Task, train_step
from jaxcnn.transfer import Plan, TransferConfig, make_plan, merge, stages_of

SHAPE = (8, 8, 1)
PROBE = TransferConfig("random", regime="linear_probe")
TOP = TransferConfig("random", regime="top_layers")


def _batch(step: int = 0, size: int = 16, shape=SHAPE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {
        "image": rng.integers(0, 256, (size, *shape), dtype=np.uint8),
        "label": rng.integers(0, 10, size, dtype=np.int32),
        "index": np.arange(size, dtype=np.int32),
        "epoch": np.zeros(size, np.int32),
    }


def _make(config: TransferConfig, optimizer, name: str = "small_cnn", shape=SHAPE, **fields):
    model = create_model(name, num_classes=10)
    plan = make_plan(config, model, shape)
    task = Task(model, optimizer, (0.5,), (0.5,), plan=plan, **fields)
    state = create_state(model, optimizer, shape, seed=0, plan=plan, ema=task.ema is not None)
    return task, state


def _leaves(tree) -> dict[str, np.ndarray]:
    keyed = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in keyed}


@pytest.mark.parametrize(
    ("kind", "devices", "fields"),
    [("jit", 1, {"ema": 0.9}), ("pmap", 2, {"accumulate": 2}), ("fsdp", 2, {"accumulate": 2})],
)
def test_frozen_parameters_and_statistics_keep_every_bit(kind, devices, fields):
    mapping = parallel.make_mapping(kind, jax.devices("cpu")[:devices])
    optimizer = make_optimizer(
        OptimizerConfig(weight_decay=0.1, clip_norm=1.0, schedule="constant"), lambda step: 0.1
    )
    task, state = _make(TOP, optimizer, **fields, axis_name=mapping.axis_name)
    model = with_norm(task.model, axis_name=mapping.axis_name)
    spread = {"model": model, "shards": mapping.shards, "gathered": mapping.gathered}
    task = dataclasses.replace(task, **spread)
    before = _leaves(state.variables)
    state = mapping.put_state(state)
    step = mapping.map_train(functools.partial(train_step, task))
    for i in range(3):
        state, _ = step(state, mapping.put_batch(_batch(i)))
    state = mapping.get_state(state)
    after, judged = _leaves(state.variables), _leaves(state.eval_variables)
    trains = {name for name in before if "stage3" in name or "head" in name}
    assert before.keys() == after.keys() == judged.keys() and len(trains) == 12
    for name in before:
        same = before[name].tobytes() == after[name].tobytes()
        assert same is (name not in trains), name
        if name not in trains:
            assert judged[name].tobytes() == before[name].tobytes(), name


def test_the_frozen_take_no_slots_and_no_averages():
    optimizer = make_optimizer(OptimizerConfig(schedule="constant"), lambda step: 0.1)
    _, state = _make(PROBE, optimizer, ema=0.9)
    assert [x.shape for x in jax.tree.leaves(state.opt_state) if x.ndim] == [(10,), (128, 10)]
    assert {k for k in _leaves(state.ema)} == {"params/head/bias", "params/head/kernel"}
    assert set(_leaves(state.params)) == {"head/bias", "head/kernel"}
    assert not state.batch_stats and len(_leaves(state.frozen)) == 6 * 5


def test_a_linear_probe_is_the_features_and_a_classifier_by_hand():
    optimizer = optax.sgd(0.1, momentum=0.9)
    task, state = _make(PROBE, optimizer)
    bare = create_model("small_cnn", num_classes=0)
    fixed = {k: {n: v for n, v in t.items() if n != "head"} for k, t in state.variables.items()}
    head, slots = state.params["head"], optimizer.init(state.params["head"])

    def loss(params, x, labels):
        logits = x @ params["kernel"] + params["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    step = jax.jit(functools.partial(train_step, task))
    for i in range(4):
        batch = _batch(i)
        x = bare.apply(fixed, (batch["image"] / 255 - 0.5) / 0.5, train=False)
        value, grads = jax.value_and_grad(loss)(head, x, batch["label"])
        updates, slots = optimizer.update(grads, slots, head)
        head = optax.apply_updates(head, updates)
        state, metrics = step(state, batch)
        np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(state.params["head"]["kernel"], head["kernel"], rtol=1e-4, atol=1e-6)


def test_batchnorm_of_frozen_layers_runs_as_in_evaluation_and_of_others_as_in_training():
    task, state = _make(TOP, optax.sgd(0.1))
    rng = np.random.default_rng(1)
    frozen = jax.tree.map(lambda x: x + rng.random(x.shape, np.float32), state.frozen)
    state = state.replace(frozen=frozen)
    batch = _batch()
    images = jnp.asarray((batch["image"] / 255 - 0.5) / 0.5, jnp.float32)
    below = features(task.model, state.variables, images)["stage2"]
    pooled = jax.lax.reduce_window(
        below, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )
    kernel = state.params["stage3_conv1"]["kernel"]
    mean = conv2d(pooled, kernel, padding=1).mean((0, 1, 2))
    new, _ = jax.jit(functools.partial(train_step, task))(state, batch)
    np.testing.assert_allclose(
        new.batch_stats["stage3_norm1"]["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", ["vgg11_bn", "small_cnn"])
def test_dropout_below_what_trains_is_off(name):
    shape = (33, 33, 3) if name == "vgg11_bn" else SHAPE
    model = create_model(name, num_classes=10)
    plan = make_plan(PROBE, model, shape)
    images = jnp.asarray(np.random.default_rng(0).random((2, *shape)), jnp.float32)
    model = model.clone(dropout=0.5)

    def logits(train):
        variables = model.init(jax.random.key(0), images, train=False)
        with plan.freezing():
            rngs = {"dropout": jax.random.key(7)}
            return model.apply(variables, images, train=train, rngs=rngs, mutable=["batch_stats"])[
                0
            ]

    if name == "vgg11_bn":  # as a program: its dense layers are large
        text = str(jax.make_jaxpr(lambda: logits(True))())
        assert "bernoulli" not in text.partition("head")[0] and "random_bits" not in text[-20000:]
    else:
        np.testing.assert_array_equal(logits(True), logits(False))


def flops(function, *arguments):
    with fast_forms(False):  # XLA counts its own operations only.
        return function.lower(*arguments).cost_analysis()["flops"]


def test_a_linear_probe_of_resnet18_costs_a_forward_pass():
    shape, size = (64, 64, 3), 2
    model, optimizer = create_model("resnet18", num_classes=10), optax.sgd(0.1, momentum=0.9)
    cost = {}
    for regime in ("linear_probe", "all"):
        plan = make_plan(TransferConfig("random", regime=regime), model, shape)
        task = Task(model, optimizer, (0.5,) * 3, (0.5,) * 3, plan=plan)
        state = jax.eval_shape(
            functools.partial(create_state, model, optimizer, shape, seed=0, plan=plan)
        )
        step = jax.jit(functools.partial(train_step, task))
        cost[regime] = flops(step, state, _batch(0, size, shape))
    forward = jax.jit(functools.partial(model.apply, train=False))
    images = jax.ShapeDtypeStruct((size, *shape), jnp.float32)
    once = flops(forward, state.variables, images)
    assert cost["linear_probe"] <= 1.1 * once
    assert cost["all"] >= 2.5 * once


def test_rematerialised_blocks_freeze_too():
    shape = (8, 8, 3)
    model = create_model("cifar_resnet20", remat=True)
    plan = make_plan(TOP, model, shape)
    images = jnp.asarray(np.random.default_rng(0).random((4, *shape)), jnp.float32)
    variables = model.init(jax.random.key(0), images, train=False)

    def stats(v):
        with plan.freezing():
            return model.apply(v, images, train=True, mutable=["batch_stats"])[1]["batch_stats"]

    old, new = _leaves(variables["batch_stats"]), _leaves(jax.jit(stats)(variables))
    changed = {name for name in old if old[name].tobytes() != new[name].tobytes()}
    assert changed == {name for name in old if name.startswith("stage3")}


def test_earlier_stages_learn_slower_by_exact_powers():
    config = TransferConfig(stage_decay=0.5)
    model = create_model("small_cnn")
    plan = make_plan(config, model, SHAPE)
    assert not plan.frozen and plan.factors["head/bias"] == 1
    plain = make_optimizer(OptimizerConfig(momentum=0.9, schedule="constant"), lambda step: 0.1)
    slower = make_optimizer(
        OptimizerConfig(momentum=0.9, schedule="constant"), lambda step: 0.1, plan.factors
    )
    updates = []
    for optimizer in (plain, slower):
        _, state = _make(config, optimizer)
        grads = jax.tree.map(jnp.ones_like, state.params)
        step, _ = optimizer.update(grads, optimizer.init(state.params), state.params)
        updates.append(_leaves(step))
    power = {"head": 0, "stage3": 1, "stage2": 2, "stage1": 3}
    for name, value in updates[0].items():
        factor = 0.5 ** power[name.partition("/")[0].partition("_")[0]]
        np.testing.assert_array_equal(updates[1][name], value * np.float32(factor), err_msg=name)


@pytest.mark.parametrize(
    ("name", "shape", "stages"),
    [
        ("cifar_resnet20", (32, 32, 3), "stem stage1 stage2 stage3 head"),
        ("googlenet", (64, 64, 3), "stem inception3 inception4 inception5 head"),
        ("alexnet", (96, 96, 3), "conv1 conv2 conv3 conv4 conv5 dense1 dense2 head"),
        ("mlp", SHAPE, "dense1 dense2 head"),
    ],
)
def test_stages_go_from_the_image_to_the_head(name, shape, stages):
    found = stages_of(create_model(name), shape)
    assert " ".join(stage.name for stage in found) == stages


def test_regimes_name_their_parameters_and_the_plan_splits_and_merges():
    model = create_model("cifar_resnet20")
    shape = (8, 8, 3)

    def count(**fields):
        plan = make_plan(TransferConfig("random", **fields), model, shape)
        return len(plan.trainable), len(plan.frozen)

    total = 19 * 3 + 2  # a kernel, a scale and a bias of each convolution; the head's two
    assert count() == (total, 0)
    assert count(regime="linear_probe") == (2, total - 2)
    assert count(regime="top_layers", stages=2) == (2 + 2 * 18, total - 2 - 2 * 18)
    assert count(regime="patterns", patterns=("*/scale", "head")) == (19 + 2, total - 21)
    plan = make_plan(TOP, model, shape)
    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    parts = plan.split(variables)
    assert jax.tree.structure(merge(*parts)) == jax.tree.structure(dict(variables))
    jax.tree.map(np.testing.assert_array_equal, merge(*parts), dict(variables))
    assert Plan().split(variables) == (variables, {})


def test_choices_that_cannot_work_are_refused_with_the_remedy():
    model = create_model("cifar_resnet20")

    def refused(message, **fields):
        with pytest.raises(ValueError, match=message):
            make_plan(TransferConfig(**{"weights": "random", **fields}), model, (8, 8, 3))

    refused("transfer.weights='random' to freeze", weights=None, regime="linear_probe")
    refused("near it are .*stage3_block1", regime="patterns", patterns=("stge3_block1*", "head"))
    refused(
        "'xyz' matches no parameter of the network; it has head, stage1",
        regime="patterns",
        patterns=("xyz",),
    )
    refused(
        r"stages=5, but the network has 4 below its head \(stem, ", regime="top_layers", stages=5
    )
    refused("patterns belong to the regime", patterns=("head",))
    refused("at least one", regime="patterns")
    refused("stage_decay=0.0 must lie", stage_decay=0.0)
    refused("transfer.head='keep' needs transfer.weights", head="keep")
    refused("give 'last', 'best' or a step", checkpoint="newest")
