"""What a config would do, before anything is trained or written."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis import MemoryPlan, Plan, memory_plan, saved_bytes
from jaxcnn.analysis import plan as plan_step
from jaxcnn.analysis.render import Column, Table, si, text
from jaxcnn.data import Example
from jaxcnn.nn import fast_forms
from jaxcnn.train.config import TrainConfig, flatten, to_dict
from jaxcnn.train.feed import is_resident
from jaxcnn.train.setup import Setup, prepare, with_norm
from jaxcnn.train.step import Task, loss_function, train_step


@dataclasses.dataclass(frozen=True)
class Rate:
    """The learning rate of one step."""

    step: int
    epoch: float
    learning_rate: float
    what: str


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """A run before it starts; `print` gives the tables.

    Attributes:
      config: resolved.
      examples: of the training split.
      classes: of the dataset.
      total_steps: optimizer steps of the run.
      steps_per_epoch: of one pass over the training split.
      per_device_batch: examples of a step on each device; the config's are over all devices.
      micro_batch: examples that a device computes at once.
      devices: how many, and of which kind.
      rates: the learning rate where it matters: start, end of the warm-up, milestones, end.
      evaluations: how often the evaluation split is scored.
      params: number of the network's parameters.
      trainable: how many of them train.
      passes: a step's FLOPs by those of a forward pass, as XLA counts both; None where everything
        trains, which takes about three.
      checkpoint_bytes: size of a checkpoint's arrays.
      step: memory and work of a step.
    """

    config: TrainConfig
    examples: int
    classes: int
    total_steps: int
    steps_per_epoch: float
    per_device_batch: int
    micro_batch: int
    devices: str
    rates: tuple[Rate, ...]
    evaluations: int
    params: int
    trainable: int
    passes: float | None
    checkpoint_bytes: int
    step: Plan

    def __str__(self) -> str:
        return self.to_text()

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        rates = [dataclasses.asdict(rate) for rate in self.rates]
        own = {"config": to_dict(self.config), "rates": rates, "step": self.step.to_dict()}
        return values | own

    def to_text(self, width: int | None = None, *, color: bool | None = None) -> str:
        """The plan for a terminal."""
        tables = (self._config_table(), self._run_table(), self.step.table())
        return "\n\n".join(text(table, width, color) for table in tables)

    def _config_table(self) -> Table:
        fields = flatten(to_dict(self.config))
        names = tuple(fields)
        values = tuple(v if isinstance(v, str) else json.dumps(v) for v in fields.values())
        return Table(
            "Config",
            (Column("Field", names, right=False), Column("Value", values, right=False)),
        )

    def _run_table(self) -> Table:
        config = self.config
        batch = f"{config.batch_size:,} in all, {self.per_device_batch:,} on each device"
        if self.micro_batch < self.per_device_batch:
            batch += f", {self.micro_batch:,} at once"
        return Table(
            "Learning rate",
            (
                Column("When", tuple(r.what for r in self.rates), right=False),
                Column("Step", tuple(f"{r.step:,}" for r in self.rates)),
                Column("Epoch", tuple(f"{r.epoch:.2f}" for r in self.rates)),
                Column("Learning rate", tuple(f"{r.learning_rate:.6g}" for r in self.rates)),
            ),
            (
                ("Examples", f"{self.examples:,} of {self.classes:,} classes"),
                ("Steps", f"{self.total_steps:,}; {self.steps_per_epoch:,.2f} per epoch"),
                ("Devices", self.devices),
                ("Batch", batch),
                ("Evaluations", f"{self.evaluations:,}"),
                ("Parameters", f"{self.params:,}"),
                *self._transfer_lines(),
                ("A checkpoint", si(self.checkpoint_bytes, "B")),
            ),
        )

    def _transfer_lines(self) -> tuple[tuple[str, str], ...]:
        if self.passes is None:
            return ()
        return (
            ("Of them train", f"{self.trainable:,} ({self.config.transfer.regime})"),
            ("A step costs", f"{self.passes:.2f} forward passes (all trained: about 3)"),
        )


def plan(
    config: TrainConfig,
    *,
    assume: tuple[int, int] | None = None,
    compile: bool = True,
    limit: int | None = None,
    devices: list[jax.Device] | None = None,
) -> RunPlan:
    """What `fit` would do with a config; nothing is trained or written.

    Args:
      config: the run.
      assume: examples and classes of a dataset that is not at hand; the data are then not opened.
      compile: ask XLA for the step's memory too; takes as long as a run's first step.
      limit: bytes of a device; default: what the device says.
      devices: what to run on; default: all.

    Raises:
      ValueError, DataError: what would stop the run before its first step.
    """
    sources = None
    if assume is not None:
        sources = (AssumedSource(*assume), AssumedSource(*assume))
    setup = prepare(config, devices, sources=sources)
    state = jax.eval_shape(setup.initial_state)
    mapping, examples = setup.mapping, setup.order.num_examples
    every = setup.every("eval_every")
    platform = mapping.devices[0].device_kind
    return RunPlan(
        config=config,
        examples=examples,
        classes=len(setup.source.class_names),
        total_steps=setup.total_steps,
        steps_per_epoch=examples / config.batch_size,
        per_device_batch=config.batch_size // mapping.size,
        micro_batch=config.batch_size // mapping.size // _parts(setup),
        devices=f"{mapping.size} x {platform}, {mapping.kind}",
        rates=_rates(setup),
        evaluations=math.ceil(setup.total_steps / every),
        params=_count(state.variables["params"]),
        trainable=_count(state.params),
        passes=_passes(setup, state),
        checkpoint_bytes=_bytes(state),
        step=_plan_step(setup, state, compile, limit),
    )


def _plan_step(setup: Setup, state: Any, compile: bool, limit: int | None) -> Plan:
    config, mapping = setup.config, setup.mapping
    height, width, channels = setup.image_shape
    parts = _parts(setup)
    # The formula's activations are those of one part; the rest is of the whole step.
    model = with_norm(setup.task.model, groups=1, axis_name=None)
    memory = memory_plan(
        model,
        image_size=(height, width),
        batch_size=config.batch_size // parts,
        channels=channels,
        devices=mapping.size,
    )
    if setup.task.plan.frozen or setup.task.whole_statistics:
        memory = _as_differentiated(memory, setup, state)
    memory = dataclasses.replace(
        memory,
        batch_size=config.batch_size,
        optimizer=_bytes(state.opt_state),
        ema=_bytes(state.ema),
        batch=memory.batch * parts,
        macs_per_step=memory.macs_per_step * parts,
    )

    def arguments(batch: int) -> tuple[Any, Any]:
        lead = (batch,) if mapping.kind != "pmap" else (mapping.size, batch // mapping.size)

        def per_device(x: Any) -> Any:
            return jax.ShapeDtypeStruct((mapping.size, *x.shape), x.dtype)

        placed = state if mapping.kind != "pmap" else jax.tree.map(per_device, state)
        rows = {n: jax.ShapeDtypeStruct(lead, jnp.int32) for n in ("label", "index", "epoch")}
        image = jax.ShapeDtypeStruct((*lead, *setup.image_shape), jnp.uint8)
        return placed, {"image": image, **rows}

    return plan_step(
        model,
        batch_size=config.batch_size,
        image_size=(height, width),
        channels=channels,
        devices=mapping.size,
        memory=memory,
        step=setup.compile_step(),
        arguments=arguments,
        compile=compile,
        limit=limit,
        multiple=mapping.size * config.accumulate,
        most=max(config.batch_size, setup.order.num_examples),
        data=_resident_bytes(setup),
    )


def _parts(setup: Setup) -> int:
    """In how many parts a batch is differentiated, one after the other."""
    return 1 if setup.task.whole_statistics else setup.config.accumulate


def _resident_bytes(setup: Setup) -> int:
    """Of the training split's pixels and labels, where each device holds them."""
    examples = setup.order.num_examples
    if not is_resident(setup.config.data, examples):
        return 0
    return examples * (math.prod(setup.image_shape) + 4)


def _one_device(setup: Setup, state: Any, size: int) -> tuple[Task, Any, dict[str, Any]]:
    """A step of one device without accumulation, and its batch as shapes."""
    model = with_norm(setup.task.model, groups=1, axis_name=None)
    task = dataclasses.replace(
        setup.task, model=model, accumulate=1, axis_name=None, shards=1, gathered=None
    )
    rows = {n: jax.ShapeDtypeStruct((size,), jnp.int32) for n in ("label", "index", "epoch")}
    image = jax.ShapeDtypeStruct((size, *setup.image_shape), jnp.uint8)
    return task, state, {"image": image, **rows}


def _passes(setup: Setup, state: Any) -> float | None:
    """What a step costs beside a forward pass, from the programs before they are compiled."""
    if not setup.task.plan.frozen:
        return None
    task, state, batch = _one_device(setup, state, 1)
    images = jax.ShapeDtypeStruct(batch["image"].shape, jnp.float32)
    forward = jax.jit(functools.partial(task.model.apply, train=False))
    step = jax.jit(functools.partial(train_step, task))
    return _flops(step, state, batch) / _flops(forward, state.variables, images)


def _as_differentiated(memory: MemoryPlan, setup: Setup, state: Any) -> MemoryPlan:
    """The formula's account of a step that keeps less: nothing frozen, or no more than products.

    With something frozen its multiply-adds are half of XLA's FLOPs, those of the rest among them.
    """
    size = memory.per_device_batch
    task, state, batch = _one_device(setup, state, size)

    def loss(params: Any, state: Any, batch: Any, key: Any) -> Any:
        return loss_function(task, state)(params, batch, key)

    saved = saved_bytes(loss, state.params, state, batch, state.key)
    memory = dataclasses.replace(memory, activations=saved)
    if not task.plan.frozen:
        return memory
    step = jax.jit(functools.partial(train_step, task))
    return dataclasses.replace(
        memory,
        gradients=_bytes(state.params),
        macs_per_step=int(_flops(step, state, batch) * memory.devices / 2),
    )


def _flops(function: Any, *arguments: Any) -> float:
    """XLA's count, before it optimises, of JAX's own operations: it cannot see into others."""
    with fast_forms(False):
        cost = function.lower(*arguments).cost_analysis()
    if cost is None:
        raise ValueError("This backend does not count the FLOPs of a program.")
    return float(cost["flops"])


def _rates(setup: Setup) -> tuple[Rate, ...]:
    optimizer, total = setup.config.optimizer, setup.total_steps
    size = (setup.order.num_examples, setup.config.batch_size)
    marks = {0: "start", total - 1: "last step"}
    if warmup := optimizer.warmup.to_steps(*size):
        marks[warmup] = "warm-up done"
    if optimizer.schedule == "step":
        for milestone in optimizer.milestones:
            marks[milestone.to_steps(*size)] = f"milestone {milestone}"
    if optimizer.schedule == "cosine":
        marks |= {total * i // 4: f"{25 * i}% of the run" for i in (1, 2, 3)}
    return tuple(
        Rate(step, step * size[1] / size[0], float(setup.schedule(step)), what)
        for step, what in sorted(marks.items())
        if 0 <= step < total
    )


def _bytes(tree: Any) -> int:
    # A random key's type knows its own size; its itemsize is that of all its words.
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _count(tree: Any) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


class AssumedSource:
    """A split of which only the size and the number of classes are known."""

    name, split, fingerprint = "assumed", "assumed", "assumed"

    def __init__(self, num_examples: int, num_classes: int) -> None:
        if num_examples < 1 or num_classes < 1:
            raise ValueError(
                f"assume=({num_examples}, {num_classes}): a dataset has at least one example and "
                "one class."
            )
        self.num_examples = num_examples
        self.class_names = tuple(map(str, range(num_classes)))

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, index: int) -> Example:
        raise LookupError("A split that is only assumed has no examples.")

    def labels(self) -> np.ndarray:
        return np.zeros(self.num_examples, np.int64)
