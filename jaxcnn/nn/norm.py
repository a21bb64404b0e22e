"""Batch normalisation with one contract for one and many devices."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class NormConfig:
    """How a network's BatchNorm layers take and keep their statistics.

    Attributes:
      momentum: weight of the OLD running value; PyTorch's 0.1 is 0.9 here.
      epsilon: added to the variance.
      axis_name: a pmap axis whose devices share their statistics; None: each call's own batch.
      groups: the batch is cut into so many contiguous groups of equal size, each normalised by
        its own statistics; with as many groups as a mesh has devices, by each device's own.
      unbiased: keep the running variance with n / (n - 1), as PyTorch does; the batch itself is
        normalised with the biased variance either way.
      precision: the type that it computes in. PyTorch takes sums in float64 on a CPU; so does
        this with `jnp.float64`, where JAX's 64 bits are switched on (`jax_enable_x64`).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    groups: int = 1
    unbiased: bool = False
    precision: Any = jnp.float32

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum} weights the old value: use [0, 1).")
        if self.groups < 1:
            raise ValueError(f"groups={self.groups} must be at least 1.")
        if jnp.dtype(self.precision) not in (jnp.float32, jnp.float64):
            raise ValueError(f"precision={self.precision} must be float32 or float64.")


class BatchNorm(nn.Module):
    """Normalises each channel of `[B, ..., C]` (Ioffe and Szegedy 2015, algorithm 1 and 2).

    Parameters `scale` and `bias` [C]; `batch_stats` hold `mean` and `var` [C], float32, which
    move to the batch's by `new = momentum old + (1 - momentum) batch`; with groups, to the mean
    of the groups' statistics.
    """

    config: NormConfig = NormConfig()
    dtype: Any = None
    param_dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        config, shape = self.config, (x.shape[-1],)
        if jax.dtypes.canonicalize_dtype(config.precision) != config.precision:
            raise ValueError("BatchNorm's precision=float64 needs jax_enable_x64; switch that on.")
        mean_average = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var_average = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        dtype = self.dtype or jnp.promote_types(x.dtype, self.param_dtype)
        if not train:
            return self._affine(x, mean_average.value, var_average.value, scale, bias, dtype)

        if x.shape[0] % config.groups:
            raise ValueError(
                f"BatchNorm: a batch of {x.shape[0]} does not divide into {config.groups} groups; "
                "use a multiple."
            )
        # One group keeps its shape: fewer operations to compile, of which a network has many.
        many = config.groups > 1
        grouped = x.reshape(config.groups, -1, *x.shape[1:]) if many else x
        mean, var, count = self._moments(grouped, mean_average.value)
        y = self._affine(grouped, mean, var, scale, bias, dtype).reshape(x.shape)
        if not self.is_initializing():
            kept = var * (count / max(count - 1, 1)) if config.unbiased else var
            for average, batch in ((mean_average, mean), (var_average, kept)):
                batch = jnp.mean(batch.reshape(config.groups, -1), axis=0) if many else batch
                new = config.momentum * average.value + (1 - config.momentum) * batch
                average.value = new.astype(average.value.dtype)
        return y

    def _moments(self, x: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array, int]:
        """Mean and biased variance, and how many values are behind each.

        `[C]` of `[B, ..., C]`; with groups `[groups, 1, ..., C]` of `[groups, B, ..., C]`.
        """
        many = self.config.groups > 1
        axes = tuple(range(int(many), x.ndim - 1))
        count = math.prod(x.shape[axis] for axis in axes)
        # Any shift gives the same variance; one near the mean keeps the difference of squares
        # from cancelling where a channel's mean is large beside its deviation.
        shift = jax.lax.stop_gradient(shift)
        x = x.astype(self.config.precision) - shift
        # Mean and mean of squares in one pass over memory, in no less than float32.
        mean = jnp.mean(x, axes, keepdims=many)
        square = jnp.mean(jnp.square(x), axes, keepdims=many)
        if self.config.axis_name is not None and not self.is_initializing():
            mean, square = jax.lax.pmean((mean, square), self.config.axis_name)
            count *= jax.lax.axis_size(self.config.axis_name)
        return mean + shift, jnp.maximum(square - jnp.square(mean), 0.0), count

    def _affine(
        self, x: jax.Array, mean: Any, var: Any, scale: jax.Array, bias: jax.Array, dtype: Any
    ) -> jax.Array:
        x, mean, var, scale, bias = (
            a.astype(self.config.precision) for a in (x, mean, var, scale, bias)
        )
        factor = jax.lax.rsqrt(var + self.config.epsilon) * scale
        # The same value whatever the centre, which is a constant to the gradient: the gradients of
        # mean, scale and bias then need two sums over the batch where they would take three.
        center = jax.lax.stop_gradient(mean)
        offset = bias - (mean - center) * factor
        y = (x - center) * factor + offset
        return y.astype(dtype)
