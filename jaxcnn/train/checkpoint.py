"""Checkpoints by Orbax: written in the background, whole or not at all, and checked when read."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jaxcnn import buckets, processes
from jaxcnn.train.manifest import (
    NAME,
    BucketManifestPath,
    DamagedCheckpoint,
    ManifestPath,
    verify,
)
from jaxcnn.train.state import TrainState

log = logging.getLogger("jaxcnn")


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands in its data: with the config, all that decides the next batch.

    Attributes:
      step: optimizer steps done, which is also batches taken.
      seed: of the order of the examples.
      num_examples: size of the training split.
      batch_size: over all devices.
      fingerprint: of the training source.
      devices: that the run had.
      processes: that the run had.
      skipped: steps so far whose gradient was not finite and that changed nothing.
    """

    step: int
    seed: int
    num_examples: int
    batch_size: int
    fingerprint: str
    devices: int = 1
    processes: int = 1
    skipped: int = 0


class SaveFailed(OSError):
    """A checkpoint was not written."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """A checkpoint that was read and found whole."""

    state: TrainState
    position: Position
    score: float | None


class Checkpoints:
    """The folder of a run's checkpoints.

    Keeps the newest `keep`, and the one with the best score. A save returns at once; its failure
    is raised by the next `save` or `wait`. All processes of a run call the same methods.
    """

    def __init__(
        self, folder: str | os.PathLike[str], keep: int = 2, *, read_only: bool = False
    ) -> None:
        self.folder = buckets.folder(folder)
        self._pending: int | None = None
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics["score"],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                # Without it Orbax keeps the scores in memory only, and a resumed run forgets
                # which of its checkpoints was the best.
                best_fn=lambda metrics: metrics["score"],
                temporary_path_class=(
                    BucketManifestPath if buckets.is_url(folder) else ManifestPath
                ),
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
                create=not read_only,
            ),
            item_names=("state", "position"),
        )

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, position: Position, score: float | None = None) -> None:
        """Starts to write one checkpoint; where the step has one, only to add a score to it.

        Raises:
          SaveFailed: of this checkpoint, or of the one before it; then this one is not begun.
        """
        self.wait()
        step = position.step
        there = step in self._manager.all_steps()
        if there and (score is None or self._position(step)["score"] is not None):
            return
        self._pending = step
        try:
            if there:
                self._manager.delete(step)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    position=ocp.args.JsonSave(dataclasses.asdict(position) | {"score": score}),
                ),
                metrics=None if score is None else {"score": score},
            )
        except Exception as error:
            raise self._failed(error) from error

    def wait(self) -> None:
        """Returns when everything is on the disk.

        Raises:
          SaveFailed: if the last save did not arrive there.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failed(error) from error
        step, self._pending = self._pending, None
        # Orbax counts a step as saved from the moment that the save was begun.
        if step is not None and not processes.from_main(lambda: self._exists(step)):
            raise self._failed(FileNotFoundError(f"{self.folder / str(step)} is not there"), step)

    def _exists(self, step: int) -> bool:
        return (self.folder / str(step) / NAME).exists()

    def _failed(self, error: Exception, step: int | None = None) -> SaveFailed:
        step, self._pending = self._pending if step is None else step, None
        # After a failure Orbax's list of steps is wrong in both directions until it reads again.
        with contextlib.suppress(Exception):
            self._manager.reload()
        return SaveFailed(f"The checkpoint of step {step} was not written: {_line(error)}")

    def restore(self, step: int, template: TrainState) -> Restored:
        """Reads one checkpoint into the template's structure.

        Args:
          step: one of `steps()`.
          template: arrays, or their shapes and types; where these have a sharding, the arrays are
            placed so.

        Raises:
          DamagedCheckpoint: if its files are not the ones that were saved.
        """
        if processes.is_main():
            verify(self.folder / str(step))
        return self._read(step, template)

    def _read(self, step: int, template: TrainState) -> Restored:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()
            ),
        )
        meta = dict(items["position"])
        score = meta.pop("score")
        return Restored(items["state"], Position(**meta), score)

    def restore_newest(self, template: TrainState) -> Restored | None:
        """Reads the newest checkpoint that is whole; None where there is none at all.

        A damaged one is set aside as `damaged-STEP`, with an error in the log.
        """
        before = self.steps()
        step = processes.from_main(self._newest_whole)
        if before and step != before[-1]:
            self._manager.reload()
        return None if step < 0 else self._read(step, template)

    def _newest_whole(self) -> int:
        for step in reversed(self.steps()):
            try:
                verify(self.folder / str(step))
                return step
            except DamagedCheckpoint as error:
                log.error("Checkpoint of step %d is damaged, falling back: %s", step, error)
                aside = self.folder / f"damaged-{step}"
                aside.rmtree(missing_ok=True)
                (self.folder / str(step)).rename(aside)
        return -1

    def best_step(self) -> int | None:
        """The step with the best score, the newest of equals; None where none has a score."""
        scored = {}
        for step in self.steps():
            score = self._position(step).get("score")
            if score is not None:
                scored[step] = score
        return max(scored, key=lambda s: (scored[s], s)) if scored else None

    def _position(self, step: int) -> dict[str, Any]:
        args = ocp.args.Composite(position=ocp.args.JsonRestore())
        return dict(self._manager.restore(step, args=args)["position"])

    def close(self) -> None:
        """Lets go of the folder. What a save did wrong, `wait` has said."""
        with contextlib.suppress(Exception):
            self._manager.close()


def _line(error: Exception) -> str:
    """An error in a line, as those of the storage library are pages of nested paths."""
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0].split(" [os_error")[0]
    return line if len(line) < 240 else f"{line[:80]} ... {line[-150:]}"
