"""The whole run: resume, step, log, evaluate, save, leave cleanly."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Generator, Iterator
from typing import Literal

import jax

from jaxcnn import processes
from jaxcnn.data import EvalLoader
from jaxcnn.evaluation import Evaluation, Evaluator, InterruptedEvaluation, Scoring
from jaxcnn.train import startup
from jaxcnn.train.bucket import Owner, RunFolder, run_folder
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.dispatch import DUE, Dispatcher, OnBatch
from jaxcnn.train.feed import TableFeed, training_batches
from jaxcnn.train.folder import FolderInUse
from jaxcnn.train.log import RunLog
from jaxcnn.train.meter import Meter, NonFiniteLoss
from jaxcnn.train.position import check_position, position
from jaxcnn.train.profile import Profile
from jaxcnn.train.run import write_config
from jaxcnn.train.setup import Setup, prepare, with_norm
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import all_finite
from jaxcnn.train.stop import StopRequest
from jaxcnn.train.watchdog import Watchdog

log = logging.getLogger("jaxcnn")


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


class _Run:
    """One call of `fit`."""

    def __init__(
        self,
        setup: Setup,
        folder: RunFolder,
        stop: StopRequest,
        watchdog: Watchdog,
        lock: Owner | None,
        on_batch: OnBatch | None,
        profile: Profile,
    ) -> None:
        self.setup, self.folder, self.stop, self.watchdog = setup, folder, stop, watchdog
        self.lock, self.on_batch, self.profile = lock, on_batch, profile
        config = setup.config
        self.checkpoints = Checkpoints(folder.checkpoints, config.keep_checkpoints)
        shapes = jax.eval_shape(setup.initial_state)
        restored = self.checkpoints.restore_newest(setup.mapping.abstract_state(shapes))
        moved, self._score = None, None
        if restored is not None:
            moved = check_position(setup, restored.position)
            state, self._score = restored.state, restored.score
        else:
            state = setup.initial_state()
        self.meter = Meter(setup, restored.position.skipped if restored else 0)
        self.step = int(state.step)
        self.state = setup.mapping.put_state(state)
        self.log = RunLog(
            folder.local,
            start_step=self.step,
            total_steps=setup.total_steps,
            enabled=processes.is_main(),
            strict=config.on_save_error == "stop",
        )
        if restored is not None:
            self.log.say(f"resuming at step {self.step} of {setup.total_steps}")
        if moved:
            self.log.say(moved)
        self.evaluator = Evaluator(
            with_norm(setup.task.model, groups=1, axis_name=None),
            Scoring(setup.preprocess),
            tuple(setup.source.class_names),
            setup.mapping,
        )
        # Of the state as it stands: the next step takes it away.
        self.evaluation: Evaluation | None = None

    def stopping(self) -> bool:
        """Whether all processes agreed to stop; asked once for each step and batch."""
        self.watchdog.alive()
        return self.stop.poll()

    def batches(self) -> TableFeed | Generator[dict[str, jax.Array], None, None]:
        setup = self.setup
        return training_batches(
            setup.source,
            setup.preprocess,
            setup.order,
            setup.mapping,
            setup.config.data,
            self.step,
        )

    def train(self) -> None:
        """Steps until the end or a request to stop; then the state is saved."""
        if not self._owes_evaluation() or self._evaluate_and_save():
            # Closed here, so that the loader's threads end with the loop.
            with contextlib.closing(self.batches()) as feed, self.profile:
                self._steps(feed)
        self._check_metrics()
        self._save_last()

    def _owes_evaluation(self) -> bool:
        """Whether a signal cut off the resumed state's evaluation, or no step will give one."""
        if self.step == self.setup.total_steps:
            return True
        due = self.step > 0 and self.step % self.setup.every("eval_every") == 0
        return due and self._score is None

    def _evaluate_and_save(self, evaluate: bool = True) -> bool:
        """In time that the speed leaves out; False where a signal came before the save."""
        started = time.monotonic()
        if evaluate and not self.evaluate():
            return False
        self.save()
        self.meter.pause(time.monotonic() - started)
        return True

    def _save_last(self) -> None:
        """Returns when the state is on the disk; what failed earlier gets one more try."""
        for last_try in (False, True):
            try:
                self._begin_save()
                self.checkpoints.wait()
                if self.lock is not None:
                    self.lock.check()
                return
            except OSError as error:
                if last_try:
                    raise
                self._on_save_error(error)

    def _check_metrics(self) -> list[dict[str, float]]:
        rows = self.meter.check()
        for row in rows:
            if not row["finite"]:
                self.log.say(
                    f"step {row['step']} skipped: loss {row['loss']}, gradient norm "
                    f"{row['grad_norm']}; {self.meter.skipped} of "
                    f"{self.setup.config.max_skipped_steps} that may be"
                )
        return rows

    def _steps(self, feed: Iterator[dict[str, jax.Array]]) -> None:
        setup, meter = self.setup, self.meter
        dispatcher = Dispatcher(setup, feed, meter, self.on_batch)
        every = {name: setup.every(f"{name}_every") for name in DUE}
        rows: list[dict[str, float]] = []
        first = self.step
        while self.step < setup.total_steps and not self.stopping():
            begun = self.step
            self.state, metrics, count = dispatcher.advance(self.state, begun)
            self.step += count
            self.evaluation = None
            if begun == first:
                self._say_first_step(metrics)
            self.profile.after_step(metrics)
            last = self.step == setup.total_steps
            due = {name: last or self.step % n == 0 for name, n in every.items()}
            if not any(due.values()):
                continue
            rows += self._check_metrics()
            if due["log"]:
                means = meter.means(rows, self.step)
                if means is not None:
                    self.log.train(self.step, means)
                rows = []
            saves = due["eval"] or due["checkpoint"]
            if saves and not self._evaluate_and_save(evaluate=due["eval"]):
                return

    def _say_first_step(self, metrics: dict[str, jax.Array]) -> None:
        """How long it took to come here: the one step that is waited for."""
        jax.block_until_ready(metrics)
        age = startup.seconds_since_start()
        if age is not None:
            self.log.say(f"first step {age:.1f} s after the process began")

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
                should_stop=self.stopping,
            )
        except InterruptedEvaluation:
            return False
        summary = self.evaluation.summary()
        self.log.evaluation(self.step, summary, len(setup.source.class_names))
        return True

    def save(self) -> None:
        """Begins to write a checkpoint; what goes wrong is answered as the config says."""
        try:
            self._begin_save()
        except OSError as error:
            self._on_save_error(error)
        self.watchdog.alive()

    def _begin_save(self) -> None:
        state = self._finite_state()
        if self.lock is not None:
            self.lock.check()
            self.folder.send()
        where = position(self.setup, self.step, self.meter.skipped)
        self.checkpoints.save(state, where, self.evaluation.top1 if self.evaluation else None)

    def _on_save_error(self, error: OSError) -> None:
        # One process cannot know whether the others' part of the save failed as well.
        unanswered = self.setup.config.on_save_error == "stop" or jax.process_count() > 1
        if unanswered or isinstance(error, FolderInUse):
            raise error
        log.error("%s The run goes on without it (on_save_error='continue').", error)

    def _finite_state(self) -> TrainState:
        state = self.setup.mapping.get_state(self.state)
        if not bool(jax.jit(all_finite)((state.params, state.batch_stats, state.opt_state))):
            raise NonFiniteLoss(
                f"After step {self.step} the parameters or statistics are not finite. The state "
                "was not saved; start again from the last checkpoint with a lower learning rate."
            )
        return state

    def close(self) -> None:
        self.log.close()
        self.checkpoints.close()


def fit(
    config: TrainConfig,
    workdir: str | pathlib.Path,
    *,
    devices: list[jax.Device] | None = None,
    on_batch: OnBatch | None = None,
    profile_steps: int = 0,
) -> RunResult:
    """Trains as the config says and leaves everything in `workdir`.

    Called again with the same arguments it goes on from the newest whole checkpoint, and ends
    with the same bytes as a run that was never stopped (same versions, machine and devices).
    Ctrl-C and SIGTERM save and return after the current step.

    Args:
      config: the run.
      workdir: its folder, or `gs://BUCKET/PATH`; made where it does not exist.
      devices: what to run on; default: all.
      profile_steps: trace so many steps, from the fourth on, into `workdir/profile`.
      on_batch: called with the number of each step, from 0, and its batch on the devices.

    Raises:
      ConfigMismatch: `workdir` holds a run of another config.
      FolderInUse: another run writes to `workdir`.
      SaveFailed, FolderGone: a checkpoint could not be written.
      NonFiniteLoss: with the step and the learning rate; that state is not saved.
      ValueError, DataError: data or values that cannot work, before the first step.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(run_folder(workdir))
        stop = stack.enter_context(StopRequest())
        stack.enter_context(startup.compiled_programs_in(config.compilation_cache))
        setup = prepare(config, devices)
        lock = _claim(stack, folder, setup)
        watchdog = stack.enter_context(Watchdog(config.watchdog_seconds))
        profile = Profile(folder.local / "profile", profile_steps)
        run = _Run(setup, folder, stop, watchdog, lock, on_batch, profile)
        try:
            run.log.say(_opening(setup))
            run.train()
            run.log.say(run.meter.verdict())
        finally:
            run.close()
        evaluation = run.evaluation if run.step >= setup.total_steps else None
        if evaluation is not None and config.figures and processes.is_main():
            from jaxcnn.train import figures  # Matplotlib is not needed before the end.

            figures.draw(folder.local, setup, evaluation)
        if lock is not None:
            folder.send()
    state = setup.mapping.get_state(run.state)
    if evaluation is not None:
        return RunResult("finished", run.step, evaluation, state)
    name = stop.signal.name if stop.signal else None
    run.log.say(f"stopped by {name} at step {run.step}; the same command resumes from there")
    return RunResult("interrupted", run.step, None, state, name)


def _claim(stack: contextlib.ExitStack, folder: RunFolder, setup: Setup) -> Owner | None:
    """The main process takes the folder until the stack unwinds, and writes the config."""
    owners: list[Owner] = []

    def take() -> int:
        owners.append(stack.enter_context(folder.claim()))
        write_config(folder.local, setup.config, tuple(setup.source.class_names))
        return 0

    processes.from_main(take)
    return owners[0] if owners else None


def _opening(setup: Setup) -> str:
    config, mapping = setup.config, setup.mapping
    return (
        f"{config.model} on {config.data.dataset}: {len(setup.source):,} examples to train, "
        f"{len(setup.eval_source):,} to evaluate; {setup.total_steps:,} steps of "
        f"{config.batch_size} ({config.batch_size // mapping.size} on each of {mapping.size} "
        f"{mapping.devices[0].platform} device{'s' * (mapping.size > 1)}, {mapping.kind}"
        f"{f', {jax.process_count()} processes' if jax.process_count() > 1 else ''})"
        f"{setup.task.plan.describe(config.transfer)}"
    )
