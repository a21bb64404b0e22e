"""Several sides measured in turn, each in a process of its own.

A machine's speed drifts, by a third within an hour where it is shared. So the sides alternate round
by round, the others waiting, and what counts is the ratio within a round.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import multiprocessing
import os
import statistics
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from jaxcnn.benchmark.case import Case
from jaxcnn.benchmark.feeding import InputCase


def measure(
    case: Case | InputCase, sides: Sequence[str] = ("jaxcnn",), *, also: Sequence[str] = ()
) -> dict[str, Any]:
    """Runs a case on each side, in turn.

    Args:
      case: what is measured: a network's step, or a dataset's way into batches.
      sides: of a step `jaxcnn`; `plain`, the same without fast forms; `synthetic`, the same
        without the dataset; `torch`; `torch.compile`. Of an input `jaxcnn`, `pillow`, `tf.data`.
      also: what else the sides of this library say after the rounds: `busy`, the share of the
        time in which a GPU computed, and `limits`, the device's and how much of them a step uses.

    Returns:
      `{"case", "sides": {side: {"images_per_second", "step_milliseconds", "rounds", ...}},
      "ratios": {side: how many times the first side is as fast}}`; medians over the rounds.

    Raises:
      ValueError: for a side that is unknown, not installed or fails; its traceback is printed.
    """
    if len(set(sides)) < len(sides):
        raise ValueError(
            f"{', '.join(sides)}: each side stands once, and {sides[0]!r} is the first."
        )
    for side in sides:
        case.check_side(side)
        if side.startswith("torch") and importlib.util.find_spec("torch") is None:
            raise ValueError("PyTorch is not installed: pip install '.[peers]' in the clone.")
    workers: dict[str, _Worker] = {}
    try:
        for side in dict.fromkeys(sides):
            # One after the other: a side that compiles would disturb one that warms up.
            workers[side] = _Worker(case, side)
            workers[side].facts = workers[side].receive()
        rounds: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
        for _ in range(case.rounds):
            for side, worker in workers.items():
                rounds[side].append(worker.round())
        more = {side: worker.ask("peak") for side, worker in workers.items()}
        for side in () if isinstance(case, InputCase) else workers:
            if not side.startswith("torch"):
                for what in also:
                    more[side] |= workers[side].ask(what)
    except BaseException:
        for worker in workers.values():
            worker.kill()  # In the middle of a round it would answer nobody for long.
        raise
    finally:
        for worker in workers.values():
            worker.close()
    results = {s: _summary(case, rounds[s]) | w.facts | more[s] for s, w in workers.items()}
    first, *others = workers
    return {
        "case": dataclasses.asdict(case) | {"image_size": list(case.size)},
        "sides": {side: _with_shares(values) for side, values in results.items()},
        "ratios": {other: _ratio(rounds[first], rounds[other]) for other in others},
    }


def _with_shares(values: dict[str, Any]) -> dict[str, Any]:
    """How much of the device's limits a step uses, where both are known."""
    limits, seconds = values.get("limits"), values["step_milliseconds"] / 1e3
    shares = {}
    for share, work, limit in (
        ("matrix_share", "step_flops", "flops_per_second"),
        ("memory_share", "step_traffic_bytes", "bytes_per_second"),
    ):
        if limits and values.get(work):
            shares[share] = round(values[work] / seconds / limits[limit], 3)
    return values | shares


def _summary(case: Case | InputCase, rounds: list[dict[str, float]]) -> dict[str, Any]:
    rates = [case.batch_size * case.steps / r["seconds"] for r in rounds]
    work = [r["cpu_seconds"] / (case.batch_size * case.steps) for r in rounds]
    return {
        "images_per_second": round(statistics.median(rates), 2),
        "step_milliseconds": round(1e3 * case.batch_size / statistics.median(rates), 2),
        "cpu_milliseconds_per_image": round(1e3 * statistics.median(work), 5),
        "rounds": [round(rate, 2) for rate in rates],
    }


def _ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, Any]:
    """How many times as fast, by the clock and by processor time, round by round."""
    ratios = {}
    for name in ("seconds", "cpu_seconds"):
        each = [b[name] / a[name] for a, b in zip(ours, theirs, strict=True)]
        ratios[name] = {
            "median": round(statistics.median(each), 3),
            "rounds": [round(ratio, 3) for ratio in each],
        }
    return {"speed": ratios["seconds"], "processor_time": ratios["cpu_seconds"]}


class _Worker:
    """One side in its process."""

    def __init__(self, case: Case | InputCase, side: str) -> None:
        self.side = side
        self.facts: dict[str, Any] = {}
        # A fork would share the parent's JAX, whose threads it does not have.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(case, side, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            raise ValueError(f"The side {self.side} ended without an answer.") from None
        if kind == "error":
            raise ValueError(f"The side {self.side} failed: {value}")
        return value

    def ask(self, what: str) -> Any:
        self._pipe.send(what)
        return self.receive()

    def round(self) -> dict[str, float]:
        return self.ask("round")

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()


def _side(case: Case | InputCase, side: str) -> Any:
    if isinstance(case, InputCase):
        from jaxcnn.benchmark.feeding import Loader, TensorFlow

        return (TensorFlow if side == "tf.data" else Loader)(case, side)
    if side.startswith("torch"):
        from jaxcnn.benchmark.peer import Peer

        return Peer(case, side)
    from jaxcnn.benchmark.ours import Ours

    return Ours(case, side)


def _serve(case: Case | InputCase, side: str, pipe: Connection) -> None:
    """Answers the parent's questions until it closes the pipe, or ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if case.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case.cores])
        runner = _side(case, side)
        runner.run(case.warmup)
        pipe.send(("facts", runner.facts))
        while True:
            pipe.send(("answer", _answer(case, runner, pipe.recv())))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass
    except ValueError as error:
        pipe.send(("error", str(error)))
    except Exception as error:
        traceback.print_exc()
        pipe.send(("error", f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"))


def _end_with_parent() -> None:
    """A round takes minutes and looks at no pipe: a parent that was killed leaves none behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(case: Case | InputCase, runner: Any, question: str) -> dict[str, Any]:
    if question == "peak":
        return {"peak_bytes": runner.peak_bytes()}
    if question == "busy":
        from jaxcnn.benchmark.busy import busy_share

        return {"busy_share": busy_share(lambda: runner.run(case.steps))}
    if question == "limits":
        from jaxcnn.benchmark.limits import measure_limits

        return {"limits": measure_limits(getattr(case, "dtype", "float32"))}
    # What was read ahead while the others had their turn; or a step that takes its memory anew,
    # which virtual machines give back while they wait. A run without pauses has neither.
    runner.run(case.warmup if isinstance(case, InputCase) else 1)
    cpu_seconds = getattr(runner, "cpu_seconds", time.process_time)
    started, work = time.perf_counter(), cpu_seconds()
    runner.run(case.steps)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - work}
