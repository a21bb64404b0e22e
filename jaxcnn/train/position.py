"""Where a run stands in its data, and whether it can go on from there on these devices."""

from __future__ import annotations

import dataclasses

import jax

from jaxcnn.train.checkpoint import Position
from jaxcnn.train.setup import Setup, with_norm


def position(setup: Setup, step: int, skipped: int = 0) -> Position:
    """The position of a run after `step` steps."""
    order = setup.order
    return Position(
        step,
        order.seed,
        order.num_examples,
        order.batch_size,
        setup.source.fingerprint,
        devices=setup.mapping.size,
        processes=jax.process_count(),
        skipped=skipped,
    )


def check_position(setup: Setup, found: Position) -> str | None:
    """Checks that a run can go on from a checkpoint.

    The order of the data depends on the step and the global batch alone, so any number of
    devices and processes takes up the same examples in the same order. What does depend on it is
    said by `_bound_to_devices`.

    Returns:
      a line for the person where the devices are others than the checkpoint's, else None.

    Raises:
      ValueError: other data, or other devices where they decide the result.
    """
    wanted = position(setup, found.step)
    here = {"devices": wanted.devices, "processes": wanted.processes, "skipped": wanted.skipped}
    if dataclasses.replace(found, **here) != wanted:  # type: ignore[arg-type]
        raise ValueError(
            f"The checkpoint stands in other data ({found}) than this run's ({wanted}). "
            "Restore the dataset as it was, or start a new --workdir."
        )
    old, new = (f"{p.devices} devices in {p.processes} processes" for p in (found, wanted))
    if old == new:
        return None
    reason = _bound_to_devices(setup) if found.devices != wanted.devices else None
    if reason:
        raise ValueError(
            f"The checkpoint is of a run on {old}, and here are {new}: {reason}. Resume on "
            f"{found.devices} devices (num_devices), or start a new --workdir."
        )
    return (
        f"the checkpoint was written on {old}, the run goes on on {new}: with the same examples in "
        "the same order, and the same values within rounding"
    )


def _bound_to_devices(setup: Setup) -> str | None:
    """Why a run cannot change its number of devices; None where it can."""
    config = setup.config
    has_norm = with_norm(setup.task.model) is not setup.task.model
    if has_norm and config.batchnorm == "device":
        return "batchnorm='device' takes its statistics over each device's share of the batch"
    if has_norm and config.accumulate > 1 and not setup.task.whole_statistics:
        return (
            f"the rows of each of accumulate={config.accumulate} micro-batches, whose statistics "
            "BatchNorm takes, depend on the number of devices"
        )
    if config.mapping == "pmap":
        return "under mapping='pmap' each device draws its own dropout"
    return None
