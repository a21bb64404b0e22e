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
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from jaxcnn.benchmark.case import Case, check_side


def measure(case: Case, sides: Sequence[str] = ("jaxcnn",)) -> dict[str, Any]:
    """Runs a case on each side, in turn.

    Args:
      case: what is measured.
      sides: `jaxcnn`; `plain`, the same without fast forms; `torch`; `torch.compile`.

    Returns:
      `{"case", "sides": {side: {"images_per_second", "step_milliseconds", "rounds", ...}},
      "ratios": {side: how many times the first side is as fast}}`; medians over the rounds.

    Raises:
      ValueError: for a side that is unknown, not installed or fails; its traceback is printed.
    """
    for side in sides:
        check_side(side, case)
        if side.startswith("torch") and importlib.util.find_spec("torch") is None:
            raise ValueError("PyTorch is not installed; pip install 'jaxcnn[peers]'.")
    workers = {}
    try:
        for side in dict.fromkeys(sides):
            # One after the other: a side that compiles would disturb one that warms up.
            workers[side] = _Worker(case, side)
            workers[side].facts = workers[side].receive()
        rounds: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
        for _ in range(case.rounds):
            for side, worker in workers.items():
                rounds[side].append(worker.round())
        peaks = {side: worker.ask("peak") for side, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    results = {s: _summary(case, rounds[s]) | w.facts | peaks[s] for s, w in workers.items()}
    first, *others = workers
    return {
        "case": dataclasses.asdict(case) | {"image_size": list(case.size)},
        "sides": results,
        "ratios": {other: _ratio(rounds[first], rounds[other]) for other in others},
    }


def _summary(case: Case, rounds: list[dict[str, float]]) -> dict[str, Any]:
    rates = [case.batch_size * case.steps / r["seconds"] for r in rounds]
    work = [r["cpu_seconds"] / (case.batch_size * case.steps) for r in rounds]
    return {
        "images_per_second": round(statistics.median(rates), 2),
        "step_milliseconds": round(1e3 * case.batch_size / statistics.median(rates), 2),
        "cpu_milliseconds_per_image": round(1e3 * statistics.median(work), 3),
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

    def __init__(self, case: Case, side: str) -> None:
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

    def close(self) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()


def _serve(case: Case, side: str, pipe: Connection) -> None:
    """Answers the parent's questions until it closes the pipe."""
    try:
        if case.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case.cores])
        if side.startswith("torch"):
            from jaxcnn.benchmark.peer import Peer as Side
        else:
            from jaxcnn.benchmark.ours import Ours as Side  # type: ignore[assignment]
        runner = Side(case, side)
        runner.run(case.warmup)
        pipe.send(("facts", runner.facts))
        while True:
            if pipe.recv() == "peak":
                pipe.send(("peak", {"peak_bytes": runner.peak_bytes()}))
                continue
            started, work = time.perf_counter(), time.process_time()
            runner.run(case.steps)
            seconds = time.perf_counter() - started
            used = time.process_time() - work
            pipe.send(("round", {"seconds": seconds, "cpu_seconds": used}))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass
    except ValueError as error:
        pipe.send(("error", str(error)))
    except Exception as error:
        traceback.print_exc()
        pipe.send(("error", f"{type(error).__name__}: {error}"))
