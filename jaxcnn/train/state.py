"""What a run carries from step to step."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxcnn.transfer import Plan, merge


@flax.struct.dataclass
class TrainState:
    """All that decides the rest of a run, together with the config and the data's order.

    Attributes:
      step: int32 scalar, the optimizer steps done.
      params: the network's parameters that train, float32.
      batch_stats: their BatchNorms' running statistics; empty for a network without.
      opt_state: the optimizer's slots.
      ema: `{"params", "batch_stats"}` averaged over steps, or None.
      key: the run's root key; a step's own key is `fold_in(key, step)`.
      frozen: `{"params", "batch_stats"}` that no step changes; empty where everything trains.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    key: jax.Array
    frozen: Any = flax.struct.field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """The network's variables as trained, the frozen ones among them."""
        return self.with_frozen(self.params, self.batch_stats)

    @property
    def eval_variables(self) -> dict[str, Any]:
        """The variables to judge: the moving average where there is one."""
        return self.variables if self.ema is None else self.with_frozen(**self.ema)

    def with_frozen(self, params: Any, batch_stats: Any) -> dict[str, Any]:
        """Trained parameters and statistics together with the frozen ones."""
        variables = {"params": params, "batch_stats": batch_stats}
        if self.frozen:
            variables = merge(variables, self.frozen)
        return {name: tree for name, tree in variables.items() if tree or name == "params"}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    *,
    seed: int,
    ema: bool = False,
    plan: Plan = Plan(),
    pretrained: Any = None,
) -> TrainState:
    """A fresh state for images of `[H, W, C]`; equal for equal seeds.

    Args:
      model: the network.
      optimizer: whose slots the state holds.
      image_shape: `(H, W, C)`.
      seed: decides the initial weights and the run's root key.
      ema: keep a moving average.
      plan: which parameters train.
      pretrained: variables to start from in place of fresh ones.
    """
    init_key, run_key = initial_keys(seed)
    variables = pretrained
    if variables is None:
        variables = model.init(init_key, jnp.zeros((1, *image_shape)), train=False)
    trained, frozen = plan.split({name: variables.get(name, {}) for name in _COLLECTIONS})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=trained["params"],
        batch_stats=trained["batch_stats"],
        opt_state=optimizer.init(trained["params"]),
        # Copies: a donated state must not hold one buffer twice.
        ema=jax.tree.map(jnp.copy, trained) if ema else None,
        key=run_key,
        frozen=frozen,
    )


_COLLECTIONS = ("params", "batch_stats")


def initial_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial weights, and the run's root key."""
    init_key, run_key = jax.random.split(jax.random.key(seed))
    return init_key, run_key
