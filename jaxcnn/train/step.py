"""One optimizer step: a pure function of the state and a batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxcnn.data.augment import Augment, augment_batch, normalize
from jaxcnn.data.mix import partners
from jaxcnn.nn import conv_forms
from jaxcnn.train.state import TrainState
from jaxcnn.transfer import Plan

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Task:
    """What a step does besides its state and batch: fixed for a run, part of the compiled step.

    Attributes:
      model: the network, its BatchNorm scope set for the mapping.
      optimizer: the transformation of the gradients.
      mean: per channel, of pixels in [0, 1].
      std: per channel, of pixels in [0, 1].
      augment: what is done to the images on the device.
      seed: decides the augmentation, with an example's epoch and index.
      label_smoothing: share of the label's probability that is spread over all classes.
      accumulate: micro-batches in a step.
      whole_statistics: whether BatchNorm's statistics are the whole batch's, not a micro-batch's.
      ema: decay of the moving average, or None.
      axis_name: the axis to average over under pmap; None under jit.
      shards: in how many device shares the rows of the batch lie.
      plan: which parameters train.
      skip: whether a step that is not finite leaves all but its number as it was.
      gathered: where the parameters are put before use, if the state is split over the devices.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment = Augment()
    seed: int = 0
    label_smoothing: float = 0.0
    accumulate: int = 1
    whole_statistics: bool = False
    ema: float | None = None
    axis_name: str | None = None
    shards: int = 1
    plan: Plan = Plan()
    skip: bool = False
    gathered: jax.sharding.Sharding | None = None


def train_step(
    task: Task, state: TrainState, batch: dict[str, jax.Array]
) -> tuple[TrainState, Metrics]:
    """One step of SGD on a batch `{"image": uint8 [B, H, W, C], "label", "index", "epoch": [B]}`.

    With `accumulate=K` the batch is cut into K micro-batches, each spread over all devices; the
    gradient is their mean. BatchNorm then normalises each micro-batch by its own statistics, and
    the running statistics move once per step, towards the micro-batches' mean.

    With `whole_statistics` BatchNorm normalises by the whole batch's, and the step is that of
    `accumulate=1`. Then no micro-batch can be differentiated on its own, since each layer's
    gradient needs sums over all of them: they go abreast, in two passes. The first keeps only
    what convolutions and products give; the second computes the rest again from there.

    Returns:
      the next state, and the means `loss`, `accuracy`, `grad_norm` and the flag `finite`.
    """
    key = jax.random.fold_in(state.key, state.step)
    if task.axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(task.axis_name))

    gradient = jax.value_and_grad(loss_function(task, state), has_aux=True)
    if task.accumulate == 1 or task.whole_statistics:
        (loss, (stats, correct)), grads = gradient(state.params, batch, key)
    else:
        (loss, (stats, correct)), grads = _accumulated(task, gradient, state, batch, key)
    if task.axis_name is not None:
        loss, stats, correct, grads = jax.lax.pmean((loss, stats, correct, grads), task.axis_name)

    updates, opt_state = task.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    grad_norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    new = state.replace(  # type: ignore[attr-defined]
        params=params,
        batch_stats=stats,
        opt_state=opt_state,
        ema=_average(task.ema, state, params, stats),
    )
    if task.skip:
        finite &= all_finite((params, stats))
        new = state.replace(  # type: ignore[attr-defined]
            **{name: _where(finite, getattr(new, name), getattr(state, name)) for name in _MOVING}
        )
    metrics = {"loss": loss, "accuracy": correct, "grad_norm": grad_norm, "finite": finite}
    return new.replace(step=state.step + 1), metrics


# What a step changes, besides its number.
_MOVING = ("params", "batch_stats", "opt_state", "ema")


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), new, old)


def all_finite(tree: Any) -> jax.Array:
    """Whether no float of a tree is NaN or infinite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats]))


def loss_function(task: Task, state: TrainState) -> Callable[..., Any]:
    """What a step differentiates: `(params, batch, key) -> (loss, (statistics, correct))`."""
    loss_of = functools.partial(_batch_loss, task, state)
    return jax.checkpoint(loss_of, policy=_is_product) if task.whole_statistics else loss_of


def _batch_loss(
    task: Task, state: TrainState, params: Any, batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, tuple[Any, jax.Array]]:
    variables = state.with_frozen(params, state.batch_stats)
    if task.gathered is not None:
        variables = jax.lax.with_sharding_constraint(variables, task.gathered)
    images, own = augment_batch(batch, task.augment, task.seed)
    images = normalize(images, task.mean, task.std)
    with task.plan.freezing():
        logits, sown = task.model.apply(
            variables,
            images,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats", "aux_logits"],
        )
    labels = batch["label"]
    targets = _targets(labels, own, logits.shape[-1], task.label_smoothing)
    loss = _cross_entropy(logits, targets)
    for name, (aux,) in sown.get("aux_logits", {}).items():
        if task.plan.trains(name.removesuffix("_logits")):
            loss += task.model.aux_weight * _cross_entropy(aux, targets)
    correct = jnp.mean(jnp.argmax(logits, -1) == labels)
    stats, _ = task.plan.split({"batch_stats": sown.get("batch_stats", {})})
    return loss, (stats["batch_stats"], correct)


def _targets(
    labels: jax.Array, own: jax.Array | None, num_classes: int, smoothing: float
) -> jax.Array:
    """Probabilities `[B, num_classes]`; `own` is the weight of an image's label if it was mixed."""
    targets = jax.nn.one_hot(labels, num_classes)
    if own is not None:
        targets = own[:, None] * targets + (1 - own[:, None]) * partners(targets)
    return optax.smooth_labels(targets, smoothing)


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy(logits.astype(jnp.float32), targets))


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in ("conv_general_dilated", conv_forms.conv.name, "dot_general")


def _accumulated(
    task: Task, gradient: Any, state: TrainState, batch: dict[str, jax.Array], key: jax.Array
) -> Any:
    """The mean of `gradient` over the micro-batches."""
    micro = jax.tree.map(lambda x: split_micro(x, task.accumulate, task.shards), batch)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(task.accumulate))

    def add(total: Any, one: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(state.params, *one)), None

    first = jax.tree.map(lambda x: x[0], (micro, keys))
    shapes = jax.eval_shape(gradient, state.params, *first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, (micro, keys))
    return jax.tree.map(lambda x: x / task.accumulate, total)


def split_micro(x: jax.Array, accumulate: int, shards: int) -> jax.Array:
    """Cuts `[B, ...]` into `[accumulate, B / accumulate, ...]` without moving rows over devices.

    Each of the `shards` contiguous device shares gives one piece to every micro-batch, so that a
    micro-batch lies on the devices as a batch does.
    """
    x = x.reshape(shards, accumulate, -1, *x.shape[1:])
    return jnp.swapaxes(x, 0, 1).reshape(accumulate, -1, *x.shape[3:])


def _average(decay: float | None, state: TrainState, params: Any, stats: Any) -> Any:
    if decay is None:
        return None
    # Shorter memory in the first steps, so that the initial weights don't linger.
    rate = jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step))
    new = {"params": params, "batch_stats": stats}
    return jax.tree.map(lambda old, x: rate * old + (1 - rate) * x, state.ema, new)
