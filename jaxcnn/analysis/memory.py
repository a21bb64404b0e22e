"""The memory and the work of a training step, before anything is allocated."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import DenyList
from jax.extend.core import Literal

from jaxcnn.analysis import render, rows
from jaxcnn.analysis.render import Column, Table, si
from jaxcnn.analysis.trace import (
    TraceError,
    abstract_variables,
    image_struct,
    mode_arguments,
    trace,
)
from jaxcnn.analysis.walk import walk
from jaxcnn.nn import fast_forms


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """A training step's bytes on each device, by formula; `print` gives the table.

    `params`, `gradients`, `optimizer` (slots of the size of the parameters), `ema` and
    `statistics` are whole on every device; `activations` and `batch` are those of the device's
    share of the batch. `activations` are the distinct arrays that the backward pass reads and that
    are neither parameters nor images, as automatic differentiation saves them; XLA recomputes
    some of them and needs room of its own, so compare with `compiled_memory`. `batch` are the
    images as uint8 and as float32, and the labels. `macs_per_step` counts forward and backward
    passes of the whole batch over all devices, without recomputation.
    """

    batch_size: int
    devices: int
    params: int
    gradients: int
    optimizer: int
    ema: int
    statistics: int
    activations: int
    batch: int
    macs_per_step: int

    @property
    def per_device_batch(self) -> int:
        return self.batch_size // self.devices

    @property
    def fixed(self) -> int:
        """Bytes that do not grow with the batch."""
        return self.params + self.gradients + self.optimizer + self.ema + self.statistics

    @property
    def per_example(self) -> float:
        """Bytes for one more example on a device."""
        return (self.activations + self.batch) / self.per_device_batch

    @property
    def total(self) -> int:
        """Bytes on each device."""
        return self.fixed + self.activations + self.batch

    @property
    def flops_per_step(self) -> int:
        """Two for each multiply-add."""
        return 2 * self.macs_per_step

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int | None = None, *, color: bool | None = None) -> str:
        """The plan for a terminal."""
        parts = ("params", "gradients", "optimizer", "ema", "statistics", "activations", "batch")
        values = [getattr(self, part) for part in parts]
        table = Table(
            f"A training step of {self.batch_size} images on {self.devices} device(s), each",
            (
                Column("Memory by formula", (*parts, "total"), right=False),
                Column("Bytes", tuple(si(v, "B") for v in (*values, self.total))),
                Column("Share", tuple(f"{v / self.total:.1%}" for v in (*values, self.total))),
            ),
            (
                ("Multiply-adds (MACs) per step", si(self.macs_per_step)),
                ("FLOPs per step (2 x MACs)", si(self.flops_per_step)),
            ),
        )
        return render.text(table, width, color)


@dataclasses.dataclass(frozen=True)
class CompiledMemory:
    """What XLA says one device needs for a compiled function, in bytes.

    `total` is arguments + outputs + temporaries + code - aliased: a donated argument shares its
    memory with an output and is counted once.
    """

    arguments: int
    outputs: int
    temporaries: int
    aliased: int
    code: int

    @property
    def total(self) -> int:
        return self.arguments + self.outputs + self.temporaries + self.code - self.aliased


def memory_plan(
    model: nn.Module,
    *,
    image_size: int | tuple[int, int],
    batch_size: int,
    channels: int = 3,
    devices: int = 1,
    optimizer_slots: int = 1,
    ema: bool = False,
) -> MemoryPlan:
    """The bytes and multiply-adds of a step that trains `model` on `batch_size` images in all.

    `optimizer_slots`: 0 for plain SGD, 1 with momentum, 2 for Adam. The compute type is the
    module's own. Nothing is compiled or allocated. Raises ValueError for a batch that does not
    divide among the devices, TraceError for a module that cannot be traced in training mode.
    """
    if devices < 1 or batch_size % devices:
        fit = max(batch_size // max(devices, 1), 1) * max(devices, 1)
        raise ValueError(
            f"batch_size={batch_size} is not divisible by {devices} devices; use {fit}."
        )
    if optimizer_slots < 0:
        raise ValueError(f"optimizer_slots={optimizer_slots} cannot work: it must be at least 0.")
    share = batch_size // devices
    images = image_struct(image_size, channels, share)
    variables, key = abstract_variables(model, images, mode_arguments(model, train=False))
    params = _bytes(variables.get("params", {}))
    traced = trace(model, image_size, channels=channels, batch_size=share, train=True)
    table = rows.build(traced, walk(traced))
    return MemoryPlan(
        batch_size=batch_size,
        devices=devices,
        params=params,
        gradients=params,
        optimizer=optimizer_slots * params,
        ema=params if ema else 0,
        statistics=_bytes({k: v for k, v in variables.items() if k != "params"}),
        activations=_saved(model, variables, images, key),
        batch=math.prod(images.shape) * 5 + 4 * share,
        macs_per_step=devices * sum(r.macs + r.backward_macs for r in table),
    )


def compiled_memory(function: Any, *args: Any, **kwargs: Any) -> CompiledMemory:
    """XLA's own account of a jitted function on the device at hand; compiles it, runs nothing.

    `args` may be arrays or ShapeDtypeStructs. An already compiled function needs none. Raises
    ValueError where the backend gives no account.
    """
    compiled = function if hasattr(function, "memory_analysis") else None
    if compiled is None:
        if not hasattr(function, "lower"):
            raise TypeError(f"{function!r} is not a jitted function; wrap it in jax.jit.")
        compiled = function.lower(*args, **kwargs).compile()
    found = compiled.memory_analysis()
    if found is None:
        raise ValueError(f"The {jax.default_backend()} backend gives no memory analysis.")
    return CompiledMemory(
        arguments=found.argument_size_in_bytes,
        outputs=found.output_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        aliased=found.alias_size_in_bytes,
        code=found.generated_code_size_in_bytes,
    )


def device_bytes(device: jax.Device | None = None) -> int | None:
    """How many bytes the device lets this process use; None where it does not say (CPUs)."""
    device = jax.local_devices()[0] if device is None else device
    stats = device.memory_stats() or {}
    return stats.get("bytes_limit")


def largest_batch(
    plan: MemoryPlan,
    limit: int,
    *,
    measure: Callable[[int], int] | None = None,
    rounds: int = 4,
) -> int:
    """The largest global batch whose step fits `limit` bytes on each device; 0 where none does.

    By formula alone, or, with `measure` (global batch -> bytes of the compiled step on a device,
    such as `lambda n: compiled_memory(step, *arguments(n)).total`), the largest of at most `rounds`
    compiled ones that fits: each trial follows from the line through what was measured before.
    """
    if limit < 1:
        raise ValueError(f"limit={limit} cannot work: give the bytes of one device.")
    guess = max(int((limit - plan.fixed) / plan.per_example), 0) * plan.devices
    if measure is None:
        return guess
    fits, fails = 0, math.inf
    known = [(0, float(plan.fixed))]
    trial = max(guess, plan.devices)
    for _ in range(rounds):
        used = measure(trial)
        if used <= limit:
            fits = max(fits, trial)
        else:
            fails = min(fails, trial)
        (a, at_a), (b, at_b) = known[-1], (trial, float(used))
        known.append((trial, float(used)))
        slope = (at_b - at_a) / (b - a)
        step = (limit - used) / slope if slope > 0 else plan.devices
        trial = int((trial + step) // plan.devices) * plan.devices
        if not fits < trial < fails:
            # The line leaves the bracket: halve it, or stop where nothing lies between.
            middle = (fits + fails) / 2 if fails < math.inf else fits
            trial = int(middle // plan.devices) * plan.devices
        if not fits < trial < fails:
            break
    return fits


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _saved(model: nn.Module, variables: Any, images: jax.ShapeDtypeStruct, key: Any) -> int:
    """Bytes of the distinct arrays that the backward pass of a cross entropy reads."""
    arguments = mode_arguments(model, train=True)
    state = {k: v for k, v in variables.items() if k != "params"}

    def loss(params: Any, state: Any, images: Any, key: Any) -> tuple[jax.Array, Any]:
        rngs = {"dropout": key}
        # Auxiliary heads may return their logits, or sow them into a collection of their own.
        mutable = DenyList(("params", "intermediates"))
        out, new = model.apply(
            {"params": params, **state}, images, rngs=rngs, mutable=mutable, **arguments
        )
        sown = {name: new.pop(name) for name in [n for n in new if n not in state]}
        logits = [x.astype(jnp.float32) for x in jax.tree.leaves((out, sown))]
        return sum((jax.nn.logsumexp(x, -1).mean() for x in logits), jnp.zeros(())), new

    try:
        return saved_bytes(loss, variables.get("params", {}), state, images, key)
    except Exception as error:
        raise TraceError(f"{type(model).__name__} cannot be differentiated: {error}") from error


def saved_bytes(loss: Any, params: Any, *arguments: Any) -> int:
    """Bytes of the distinct arrays that the gradient of a loss keeps from its forward pass.

    `loss(params, *arguments)` gives a scalar and something else; arguments are arrays or their
    shapes, and are not counted. Nothing is computed.
    """

    def residuals(params: Any, *arguments: Any) -> Any:
        _, pull, _ = jax.vjp(lambda p: loss(p, *arguments), params, has_aux=True)
        return jax.tree.leaves(pull)

    with fast_forms(False):
        made = jax.make_jaxpr(residuals)(params, *arguments)
    inputs = set(made.jaxpr.invars)
    saved = {v for v in made.jaxpr.outvars if not isinstance(v, Literal)} - inputs
    return _bytes([v.aval for v in saved if hasattr(v.aval, "dtype")])
