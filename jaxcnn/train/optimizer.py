"""From the config to an optax transformation and its learning rate over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from jaxcnn.train.config import OptimizerConfig


def make_schedule(
    config: OptimizerConfig, *, num_examples: int, batch_size: int, total_steps: int
) -> optax.Schedule:
    """The learning rate as a function of the step, 0-based.

    The warm-up rises linearly and ends at the peak; milestones are counted from the start of the
    run, the cosine (Loshchilov and Hutter 2017, without restarts) and the polynomial run from the
    warm-up's end to 0 at `total_steps`.

    Raises:
      ValueError: if the warm-up leaves no steps, or milestones don't lie after it in order.
    """
    warmup = config.warmup.to_steps(num_examples, batch_size)
    if warmup >= total_steps:
        raise ValueError(
            f"optimizer.warmup={config.warmup} is {warmup} of the run's {total_steps} steps; "
            "make it shorter than the run."
        )
    peak = config.learning_rate
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, total_steps - warmup)
    elif config.schedule == "polynomial":
        main = optax.polynomial_schedule(peak, 0.0, config.power, total_steps - warmup)
    elif config.schedule == "step":
        drops = [m.to_steps(num_examples, batch_size) for m in config.milestones]
        if any(b <= a for a, b in zip([warmup, *drops], drops, strict=False)):
            raise ValueError(
                f"optimizer.milestones at steps {drops} must rise and lie after the warm-up's "
                f"{warmup} steps."
            )
        main = optax.piecewise_constant_schedule(peak, {d - warmup: config.drop for d in drops})
    else:
        main = optax.constant_schedule(peak)
    if not warmup:
        return main
    return optax.join_schedules(
        [optax.linear_schedule(config.warmup_from, peak, warmup), main], [warmup]
    )


def decay_mask(params: Any) -> Any:
    """True for kernels, False for biases and norms: whatever has a single dimension."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def make_optimizer(
    config: OptimizerConfig,
    schedule: optax.Schedule,
    factors: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """SGD as PyTorch's: `v = momentum v + (g + decay p)`, then `p -= rate v`; or LARS.

    LARS (You et al. 2017, algorithm 1) takes `v = momentum v + rate t (g + decay p)`, then `p -=
    v`, with `t = trust |p| / |g + decay p|` for kernels, and 1 for biases and norms.

    Args:
      config: what to do with the gradients.
      schedule: the learning rate by step.
      factors: of the learning rate, by the path of a parameter (`stage1_block1/conv1/kernel`).
    """
    parts = []
    if config.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay:
        mask = decay_mask if config.decay == "kernels" else None
        parts.append(optax.add_decayed_weights(config.weight_decay, mask))
    rate = optax.scale_by_learning_rate(schedule)
    if config.name == "lars":
        # The rate goes into the velocity, so that a warm-up does not act on old gradients.
        trust = optax.scale_by_trust_ratio(trust_coefficient=config.trust)
        parts += [optax.masked(trust, decay_mask), rate]
    if config.momentum:
        parts.append(optax.trace(config.momentum, nesterov=config.nesterov))
    if config.name != "lars":
        parts.append(rate)
    if factors:
        parts.append(scale_by_path(factors))
    return optax.chain(*parts)


def scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies each update by the factor of its parameter's path; 1 where none is named."""

    def scale(path: Any, update: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return update * factors.get(name, 1.0)

    return optax.stateless(
        lambda updates, params=None: jax.tree_util.tree_map_with_path(scale, updates)
    )
