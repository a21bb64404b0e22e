"""What a training step will need, by formula and by the compiler, and the batch that fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.analysis.host_memory import available_bytes
from jaxcnn.analysis.memory import (
    CompiledMemory,
    MemoryPlan,
    compiled_memory,
    device_bytes,
    largest_batch,
    memory_plan,
)
from jaxcnn.analysis.render import Column, Table, si, text
from jaxcnn.analysis.trace import abstract_variables, image_struct, mode_arguments
from jaxcnn.models import create_model, model_info

# Makes the abstract arguments of a step for a global batch size.
Arguments = Callable[[int], tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Limit:
    """The bytes that one device may use, and who says so."""

    bytes: int
    source: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training step before it runs; `print` gives the tables.

    Attributes:
      memory: bytes on each device by formula, and the step's multiply-adds.
      compiled: the same by XLA's `memory_analysis`; None where nothing was compiled.
      limit: what one device has.
      largest_batch: the largest global batch that fits `limit`; 0 where none does.
      measured: whether `largest_batch` was compiled, or follows from the formula alone.
      data: bytes of data that each device holds besides the step's.
    """

    memory: MemoryPlan
    compiled: CompiledMemory | None
    limit: Limit
    largest_batch: int
    measured: bool
    data: int = 0

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int | None = None, *, color: bool | None = None) -> str:
        """The plan for a terminal."""
        return text(self.table(), width, color)

    def table(self) -> Table:
        """Memory by formula beside XLA's account, and what fits."""
        memory, compiled = self.memory, self.compiled
        parts = ("params", "gradients", "optimizer", "ema", "statistics", "activations", "batch")
        names, values = [*parts], [getattr(memory, part) for part in parts]
        names.append("total by formula")
        values.append(memory.total)
        if compiled is not None:
            names += [
                "XLA: arguments",
                "XLA: temporaries",
                "XLA: outputs not aliased",
                "XLA: total",
            ]
            outputs = compiled.outputs - compiled.aliased
            values += [compiled.arguments, compiled.temporaries, outputs, compiled.total]
        share = [f"{v / memory.total:.1%}" for v in values]
        how = "compiled" if self.measured else "by formula"
        return Table(
            f"Memory of a step of {memory.batch_size:,} images, on each of {memory.devices} "
            f"device{'s' * (memory.devices > 1)}",
            (
                Column("What", tuple(names), right=False),
                Column("Bytes", tuple(si(v, "B") for v in values)),
                Column("Of the formula's total", tuple(share), rank=1),
            ),
            (
                ("FLOPs per step (2 x multiply-adds)", si(memory.flops_per_step)),
                *([("Data on each device besides", si(self.data, "B"))] if self.data else []),
                ("A device has", f"{si(self.limit.bytes, 'B')} ({self.limit.source})"),
                ("Largest global batch that fits", f"{self.largest_batch:,} ({how})"),
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        memory = dataclasses.asdict(self.memory) | {"total": self.memory.total}
        compiled = None
        if self.compiled is not None:
            compiled = dataclasses.asdict(self.compiled) | {"total": self.compiled.total}
        return {
            "memory": memory,
            "compiled": compiled,
            "flops_per_step": self.memory.flops_per_step,
            "limit": dataclasses.asdict(self.limit),
            "largest_batch": self.largest_batch,
            "largest_batch_measured": self.measured,
            "data": self.data,
        }


def plan(
    model: nn.Module | str,
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    devices: int = 1,
    memory: MemoryPlan | None = None,
    step: Any = None,
    arguments: Arguments | None = None,
    compile: bool = True,
    limit: int | None = None,
    multiple: int | None = None,
    most: int = 2**20,
    data: int = 0,
) -> Plan:
    """Memory and work of a training step, and the largest batch that fits; nothing is trained.

    Args:
      model: a module that takes `[B, H, W, C]`, or a name of ours.
      batch_size: over all devices.
      image_size: height and width; default: the named network's own.
      channels: of the images; default: the named network's own, or 3.
      devices: how many share the batch; without `step`, the share of one of them is compiled.
      memory: the formula's account where it is known better than by SGD with momentum.
      step: a jitted step to compile; default: SGD with momentum on the mean cross entropy.
      arguments: the step's arguments as shapes, for a global batch size.
      compile: ask XLA too. Compiling takes seconds to a minute.
      limit: bytes of a device; default: what the device at hand says, and on a CPU the memory
        that the system has available, within the limit of a container or a job.
      multiple: what a batch must divide by; default: `devices`.
      most: no larger batch is looked for.
      data: bytes of data that each device holds besides the step's.

    Raises:
      ValueError: a batch that the devices don't divide, a module without an image size, or a
        machine that does not say what it has.
      TraceError: a module that cannot be traced in training mode.
    """
    model, image_size, channels = _resolve(model, image_size, channels)
    memory = memory or memory_plan(
        model, batch_size=batch_size, image_size=image_size, channels=channels, devices=devices
    )
    if step is None or arguments is None:
        step, arguments = _sgd(model, image_size, channels, devices)
    room, unit = _limit(limit), multiple or devices
    free = max(1, room.bytes - data)

    def whole(batch: int) -> int:
        return min(batch, most) // unit * unit

    if not compile:
        return Plan(memory, None, room, whole(largest_batch(memory, free)), False, data)

    def measure(batch: int) -> CompiledMemory:
        return compiled_memory(step, *arguments(batch))

    compiled = measure(batch_size)
    best, measured = _largest_measured(memory, compiled, free, whole, lambda n: measure(n).total)
    return Plan(memory, compiled, room, best, measured, data)


def _largest_measured(
    memory: MemoryPlan,
    compiled: CompiledMemory,
    room: int,
    whole: Callable[[int], int],
    measure: Callable[[int], int],
) -> tuple[int, bool]:
    """The largest batch whose step fits, in at most three more compilations.

    And whether it was compiled: 0 is what the formula leaves, or none of the compiled ones fitted.
    """
    # What XLA needs for one more example is known better from one compilation than by formula.
    spare = max(1, compiled.total - memory.fixed - memory.batch)
    guess = largest_batch(dataclasses.replace(memory, activations=spare), room)
    fits = memory.batch_size if compiled.total <= room else 0
    if not fits:
        guess = min(guess, memory.batch_size - 1)
    for best in dict.fromkeys(whole(int(guess * share)) for share in (1, 0.9, 0.5)):
        if best > fits and measure(best) <= room:
            return best, True
    return fits, fits > 0


def _resolve(
    model: nn.Module | str, image_size: int | tuple[int, int] | None, channels: int | None
) -> tuple[nn.Module, int | tuple[int, int], int]:
    if isinstance(model, str):
        info = model_info(model)
        return create_model(model), image_size or info.image_size, channels or info.channels
    if image_size is None:
        raise ValueError(
            f"{type(model).__name__} does not say its image size; give image_size=224, say."
        )
    return model, image_size, channels or 3


def _limit(given: int | None) -> Limit:
    if given is not None:
        if given < 1:
            raise ValueError(f"limit={given} cannot work: give the bytes of one device.")
        return Limit(given, "as given")
    found = device_bytes()
    if found is not None:
        return Limit(found, "as the device says")
    available = available_bytes()
    if available is None:
        raise ValueError(
            "This machine does not say how much memory is available; give limit=BYTES, or "
            "--plan-memory GB."
        )
    return Limit(available, "memory of this machine that is available now")


def _sgd(
    model: nn.Module, image_size: int | tuple[int, int], channels: int, devices: int
) -> tuple[Any, Arguments]:
    """A step of SGD with momentum on one device's share, and its arguments."""
    training = mode_arguments(model, train=True)

    def loss(params: Any, state: Any, images: Any, labels: Any, key: Any) -> tuple[Any, Any]:
        mutable = [*state, "aux_logits"]
        variables = {"params": params, **state}
        logits, sown = model.apply(
            variables, images, rngs={"dropout": key}, mutable=mutable, **training
        )
        new = dict(sown)
        all_logits = jax.tree.leaves((logits, new.pop("aux_logits", ())))
        entropies = [_cross_entropy(x.astype(jnp.float32), labels) for x in all_logits]
        return sum(entropies, jnp.zeros(())), new

    def step(params: Any, slots: Any, state: Any, images: Any, labels: Any, key: Any) -> Any:
        gradient = jax.value_and_grad(loss, has_aux=True)
        pixels = images.astype(jnp.float32) / 255
        (value, state), grads = gradient(params, state, pixels, labels, key)
        slots = jax.tree.map(lambda m, g: 0.9 * m + g, slots, grads)
        return jax.tree.map(lambda p, m: p - 0.1 * m, params, slots), slots, state, value

    def arguments(batch: int) -> tuple[Any, ...]:
        images = image_struct(image_size, channels, batch // devices)
        variables, key = abstract_variables(model, images, mode_arguments(model, train=False))
        params = variables["params"]
        state = {name: tree for name, tree in variables.items() if name != "params"}
        labels = jax.ShapeDtypeStruct((batch // devices,), jnp.int32)
        pixels = jax.ShapeDtypeStruct(images.shape, jnp.uint8)
        return params, params, state, pixels, labels, key

    return jax.jit(step, donate_argnums=(0, 1, 2)), arguments


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - chosen)
