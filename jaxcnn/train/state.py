"""What a run carries from step to step."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


@flax.struct.dataclass
class TrainState:
    """All that decides the rest of a run, together with the config and the data's order.

    Attributes:
      step: int32 scalar, the optimizer steps done.
      params: the network's parameters, float32.
      batch_stats: BatchNorm's running statistics; empty for a network without.
      opt_state: the optimizer's slots.
      ema: `{"params", "batch_stats"}` averaged over steps, or None.
      key: the run's root key; a step's own key is `fold_in(key, step)`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    key: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """The network's variables as trained."""
        return _variables(self.params, self.batch_stats)

    @property
    def eval_variables(self) -> dict[str, Any]:
        """The variables to judge: the moving average where there is one."""
        return self.variables if self.ema is None else _variables(**self.ema)


def _variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    *,
    seed: int,
    ema: bool = False,
) -> TrainState:
    """A fresh state for images of `[H, W, C]`; equal for equal seeds."""
    init_key, run_key = jax.random.split(jax.random.key(seed))
    variables = model.init(init_key, jnp.zeros((1, *image_shape)), train=False)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    average = {"params": params, "batch_stats": batch_stats}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        # Copies: a donated state must not hold one buffer twice.
        ema=jax.tree.map(jnp.copy, average) if ema else None,
        key=run_key,
    )
