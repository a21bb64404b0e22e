"""The whole run: resume, step, log, evaluate, save, leave cleanly."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Generator, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxcnn import parallel
from jaxcnn.data import EvalLoader
from jaxcnn.evaluation import Evaluation, Evaluator, InterruptedEvaluation
from jaxcnn.train import figures
from jaxcnn.train.checkpoint import Checkpoints, Position
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.feed import fits_on_device, make_loader, resident_batches, streamed_batches
from jaxcnn.train.log import RunLog
from jaxcnn.train.run import write_config
from jaxcnn.train.setup import Setup, prepare, with_norm
from jaxcnn.train.state import TrainState
from jaxcnn.train.stop import StopRequest

# How many steps the host may be ahead of the devices: enough to keep them busy, few enough that
# Ctrl-C is answered at once.
_AHEAD = 2


class NonFiniteLoss(FloatingPointError):
    """The loss or its gradient became NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class RunResult:
    """How a call of `fit` ended.

    Attributes:
      status: `finished`, or `interrupted` by a signal (the same call resumes).
      step: optimizer steps done.
      evaluation: of the final state; None where the run was interrupted.
      state: the final state.
      signal: the name of the signal that interrupted the run.
    """

    status: Literal["finished", "interrupted"]
    step: int
    evaluation: Evaluation | None
    state: TrainState
    signal: str | None = None


class Meter:
    """Training metrics that stay on the device until someone wants to see them."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._pending: collections.deque[tuple[int, Any]] = collections.deque()
        self._since = time.monotonic()

    def add(self, step: int, metrics: Any) -> None:
        self._pending.append((step, metrics))
        if len(self._pending) > _AHEAD:
            jax.block_until_ready(self._pending[-1 - _AHEAD][1])

    def check(self) -> list[dict[str, float]]:
        """Fetches what has come in, and raises NonFiniteLoss for the first bad step."""
        rows = []
        while self._pending:
            step, metrics = self._pending.popleft()
            row = self._setup.mapping.get_metrics(metrics)
            if not row["finite"]:
                rate = float(self._setup.schedule(step - 1))
                raise NonFiniteLoss(
                    f"Step {step}: loss {row['loss']}, gradient norm {row['grad_norm']}, at "
                    f"learning rate {rate:g}. The state was not saved. Lower "
                    "optimizer.learning_rate, lengthen optimizer.warmup or set "
                    "optimizer.clip_norm, then start again from the last checkpoint."
                )
            rows.append(row)
        return rows

    def means(self, rows: list[dict[str, float]], step: int) -> dict[str, float]:
        """Averages since the last call, with the learning rate and the speed."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        values = {k: sum(r[k] for r in rows) / len(rows) for k in ("loss", "accuracy", "grad_norm")}
        rate = len(rows) * self._setup.config.batch_size / seconds
        return values | {
            "learning_rate": float(self._setup.schedule(step - 1)),
            "images_per_second": rate,
            "images_per_second_per_device": rate / self._setup.mapping.size,
        }

    def pause(self, seconds: float) -> None:
        """Leaves time out of the speed that was spent on something else."""
        self._since += seconds


class _Run:
    """One call of `fit`."""

    def __init__(self, setup: Setup, workdir: pathlib.Path, stop: StopRequest) -> None:
        self.setup, self.workdir, self.stop = setup, workdir, stop
        config = setup.config
        self.checkpoints = Checkpoints(workdir / "checkpoints", config.keep_checkpoints)
        restored = self.checkpoints.restore_newest(setup.initial_state())
        if restored is not None:
            self._check_position(restored.position)
            state = restored.state
        else:
            state = setup.initial_state()
        self.step = int(state.step)
        self.state = setup.mapping.put_state(state)
        self.log = RunLog(
            workdir,
            start_step=self.step,
            total_steps=setup.total_steps,
            enabled=parallel.is_main_process(),
        )
        if restored is not None:
            self.log.say(f"resuming at step {self.step} of {setup.total_steps}")
        self.evaluator = Evaluator(
            with_norm(setup.task.model, groups=1, axis_name=None),
            setup.preprocess,
            tuple(setup.source.class_names),
            setup.mapping,
        )
        self.evaluation: Evaluation | None = None

    def _check_position(self, found: Position) -> None:
        wanted = self._position(found.step)
        if found != wanted:
            raise ValueError(
                f"The checkpoint stands in other data ({found}) than this run's ({wanted}). "
                "Restore the dataset as it was, or start a new --workdir."
            )

    def _position(self, step: int) -> Position:
        order = self.setup.order
        return Position(
            step, order.seed, order.num_examples, order.batch_size, self.setup.source.fingerprint
        )

    def batches(self) -> Generator[dict[str, jax.Array], None, None]:
        setup, data = self.setup, self.setup.config.data
        if fits_on_device(data, len(setup.source)) and not data.max_bad_images:
            return resident_batches(
                setup.source,
                setup.preprocess,
                setup.order,
                setup.mapping,
                start_step=self.step,
                threads=data.threads,
            )
        loader = make_loader(setup.source, setup.preprocess, setup.order, data, self.step)
        return streamed_batches(loader, setup.mapping)

    def train(self) -> None:
        """Steps until the end or a request to stop; then the state is saved."""
        meter = Meter(self.setup)
        # Closed here, so that the loader's threads end with the loop.
        with contextlib.closing(self.batches()) as feed:
            self._steps(feed, meter)
        meter.check()
        self.save()
        self.checkpoints.wait()

    def _steps(self, feed: Iterator[dict[str, jax.Array]], meter: Meter) -> None:
        setup, step_fn = self.setup, self.setup.compile_step()
        every = {name: setup.every(f"{name}_every") for name in ("log", "eval", "checkpoint")}
        rows: list[dict[str, float]] = []
        while self.step < setup.total_steps and not self.stop.requested:
            self.state, metrics = step_fn(self.state, next(feed))
            self.step += 1
            meter.add(self.step, metrics)
            last = self.step == setup.total_steps
            due = {name: last or self.step % n == 0 for name, n in every.items()}
            if not any(due.values()):
                continue
            rows += meter.check()
            if due["log"]:
                self.log.train(self.step, meter.means(rows, self.step))
                rows = []
            if due["eval"] or due["checkpoint"]:
                started = time.monotonic()
                if due["eval"] and not self.evaluate():
                    return
                self.save(self.evaluation.top1 if due["eval"] and self.evaluation else None)
                meter.pause(time.monotonic() - started)

    def evaluate(self) -> bool:
        """Scores the evaluation split; False where a signal came in between."""
        setup, config = self.setup, self.setup.config
        size = -(-config.eval_batch_size // setup.mapping.size) * setup.mapping.size
        loader = EvalLoader(
            setup.eval_source,
            setup.preprocess,
            size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=config.data.threads,
            max_bad=config.data.max_bad_images,
        )
        try:
            self.evaluation = self.evaluator.run(
                self.state.eval_variables,
                loader,
                len(setup.eval_source),
                bad_count=lambda: loader.bad_count,
                should_stop=lambda: self.stop.requested,
            )
        except InterruptedEvaluation:
            return False
        summary = self.evaluation.summary()
        self.log.evaluation(self.step, summary, len(setup.source.class_names))
        return True

    def save(self, score: float | None = None) -> None:
        state = self.setup.mapping.get_state(self.state)
        if not bool(_all_finite((state.params, state.batch_stats, state.opt_state))):
            raise NonFiniteLoss(
                f"After step {self.step} the parameters or statistics are not finite. The state "
                "was not saved; start again from the last checkpoint with a lower learning rate."
            )
        self.checkpoints.save(state, self._position(self.step), score)


def fit(
    config: TrainConfig,
    workdir: str | pathlib.Path,
    *,
    devices: list[jax.Device] | None = None,
) -> RunResult:
    """Trains as the config says and leaves everything in `workdir`.

    Called again with the same arguments it goes on from the newest whole checkpoint, and ends
    with the same bytes as a run that was never stopped (same versions, machine and devices).
    Ctrl-C and SIGTERM save and return after the current step.

    Args:
      config: the run.
      workdir: its folder; made where it does not exist.
      devices: what to run on; default: all.

    Raises:
      ConfigMismatch: `workdir` holds a run of another config.
      NonFiniteLoss: with the step and the learning rate; that state is not saved.
      ValueError, DataError: data or values that cannot work, before the first step.
    """
    workdir = pathlib.Path(workdir).resolve()
    with StopRequest() as stop:
        setup = prepare(config, devices)
        if parallel.is_main_process():
            write_config(workdir, config, tuple(setup.source.class_names))
        run = _Run(setup, workdir, stop)
        try:
            run.log.say(_opening(setup))
            run.train()
            if run.evaluation is None and not stop.requested:
                run.evaluate()
        finally:
            run.log.close()
            run.checkpoints.close()
        evaluation = run.evaluation if run.step >= setup.total_steps else None
        if evaluation is not None and config.figures and parallel.is_main_process():
            figures.draw(workdir, setup, evaluation)
    state = setup.mapping.get_state(run.state)
    if evaluation is not None:
        return RunResult("finished", run.step, evaluation, state)
    name = stop.signal.name if stop.signal else None
    run.log.say(f"stopped by {name} at step {run.step}; the same command resumes from there")
    return RunResult("interrupted", run.step, None, state, name)


def _opening(setup: Setup) -> str:
    config, mapping = setup.config, setup.mapping
    return (
        f"{config.model} on {config.data.dataset}: {len(setup.source):,} examples to train, "
        f"{len(setup.eval_source):,} to evaluate; {setup.total_steps:,} steps of "
        f"{config.batch_size} ({config.batch_size // mapping.size} on each of {mapping.size} "
        f"{mapping.devices[0].platform} device{'s' * (mapping.size > 1)}, {mapping.kind})"
        f"{setup.task.plan.describe(config.transfer)}"
    )


@functools.partial(jax.jit)
def _all_finite(tree: Any) -> jax.Array:
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats]))
