"""Checkpoints by Orbax: written in the background, whole or not at all, and checked when read."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jaxcnn.train.manifest import DamagedCheckpoint, verify
from jaxcnn.train.manifest import ManifestPath as _ManifestPath
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
    """

    step: int
    seed: int
    num_examples: int
    batch_size: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Restored:
    """A checkpoint that was read and found whole."""

    state: TrainState
    position: Position
    score: float | None


class Checkpoints:
    """The folder of a run's checkpoints.

    Keeps the newest `keep`, and the one with the best score. A save returns at once; its failure
    is raised by the next `save`, `wait` or `close`.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2, *, read_only: bool = False) -> None:
        self.folder = pathlib.Path(folder).resolve()
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
                temporary_path_class=_ManifestPath,
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
        """Starts to write one checkpoint; does nothing where the step has one already."""
        if position.step in self._manager.all_steps():
            return
        self._manager.save(
            position.step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                position=ocp.args.JsonSave(dataclasses.asdict(position) | {"score": score}),
            ),
            metrics=None if score is None else {"score": score},
        )

    def restore(self, step: int, template: TrainState) -> Restored:
        """Reads one checkpoint into the template's structure.

        Raises:
          DamagedCheckpoint: if its files are not the ones that were saved.
        """
        verify(self.folder / str(step))
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
        for step in reversed(self.steps()):
            try:
                return self.restore(step, template)
            except DamagedCheckpoint as error:
                log.error("Checkpoint of step %d is damaged, falling back: %s", step, error)
                aside = self.folder / f"damaged-{step}"
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(step)).rename(aside)
                self._manager.reload()
        return None

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

    def wait(self) -> None:
        """Returns when everything is on the disk, or raises what went wrong."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        self._manager.close()
