"""Which share of the time a GPU computed, from a trace of it."""

from __future__ import annotations

import gzip
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import jax


def busy_share(run: Callable[[], Any]) -> float | None:
    """Traces `run`, which must wait for its own end; None where a trace names no GPU."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            run()
        for path in pathlib.Path(folder).rglob("perfetto_trace.json.gz"):
            with gzip.open(path) as file:
                return share_of(json.load(file)["traceEvents"])
    return None


def share_of(events: Iterable[dict[str, Any]]) -> float | None:
    """The union of the GPUs' kernels over the time from the first to the last, of Chrome's events.

    With several GPUs, the mean of their shares. Only streams count: other lines of a GPU's are
    whole programs, gaps and all.
    """
    events = list(events)
    devices = {e["pid"]: str(e["args"]["name"]) for e in events if e.get("name") == "process_name"}
    streams = {
        (e["pid"], e["tid"])
        for e in events
        if e.get("name") == "thread_name" and "stream" in str(e["args"]["name"]).lower()
    }
    spans: dict[int, list[tuple[float, float]]] = {}
    for event in events:
        line = (event.get("pid"), event.get("tid"))
        on_gpu = "/device:GPU" in devices.get(event.get("pid", -1), "")
        if event.get("ph") == "X" and on_gpu and line in streams:
            begin = float(event["ts"])
            spans.setdefault(event["pid"], []).append((begin, begin + float(event.get("dur", 0))))
    if not spans:
        return None
    shares = [_covered(each) for each in spans.values()]
    return sum(shares) / len(shares)


def _covered(spans: list[tuple[float, float]]) -> float:
    spans = sorted(spans)
    first, end, covered = spans[0][0], spans[0][0], 0.0
    for begin, stop in spans:
        covered += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return covered / (end - first) if end > first else 1.0
