"""What a person and a program see of a run: terminal, `metrics.jsonl`, TensorBoard."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import rich.console
import rich.progress
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

log = logging.getLogger("jaxcnn")

# Seconds: flushing TensorBoard's events waits for the disk.
_FLUSH_EVERY = 10.0


class RunLog:
    """Writes a run's metrics to every place at once.

    On a terminal it shows a progress bar, elsewhere plain lines. A resumed run first drops the
    lines of `metrics.jsonl` behind the step that it resumes from, and writes no evaluation of that
    step again, so that no step stands twice.

    Args:
      workdir: the run's folder.
      start_step: optimizer steps done.
      total_steps: of the run.
      enabled: False writes nothing.
      strict: whether a line that cannot be written raises its OSError; else that is logged.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        start_step: int,
        total_steps: int,
        enabled: bool = True,
        strict: bool = True,
    ) -> None:
        self.enabled, self._strict = enabled, strict
        self.console = rich.console.Console(highlight=False, quiet=not enabled)
        self._total = total_steps
        self._start_step, self._start_time = start_step, time.monotonic()
        self._bar: rich.progress.Progress | None = None
        if not enabled:
            return
        self._path = workdir / "metrics.jsonl"
        self._evaluated = {
            row["step"] for row in _drop_after(self._path, start_step) if row["kind"] == "eval"
        }
        self._file = self._path.open("a")
        (workdir / "tensorboard").mkdir(exist_ok=True)
        # Not SummaryWriter: its thread dies of a full disk, and then its queue blocks the run.
        self._events = EventsWriter(str(workdir / "tensorboard" / "events"))
        self._flushed = -float("inf")
        if self.console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("[bold]{task.completed:>6.0f}/{task.total:.0f}"),
                rich.progress.BarColumn(bar_width=24),
                rich.progress.TimeRemainingColumn(),
                rich.progress.TextColumn("{task.fields[note]}"),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=total_steps, completed=start_step, note="")

    def say(self, text: str) -> None:
        """One line for the person."""
        self.console.print(text, markup=False, soft_wrap=True)

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """The means over the steps since the last call."""
        self._write("train", step, metrics)
        note = (
            f"loss {metrics['loss']:.4f}  acc {metrics['accuracy']:.2%}  "
            f"{metrics['images_per_second']:,.0f} img/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=note)
        else:
            self.say(f"step {step}/{self._total}  {note}  left {self._time_left(step)}")

    def evaluation(self, step: int, summary: Mapping[str, Any], class_count: int) -> None:
        """The scores on the evaluation split."""
        scalars = {k: v for k, v in summary.items() if isinstance(v, int | float)}
        self._write("eval", step, scalars)
        top5 = f"  top-5 {summary['top5']:.2f}%" if class_count > 5 else ""
        self.say(
            f"eval at step {step}: top-1 {summary['top1']:.2f}% "
            f"({summary['correct']:,} of {summary['count']:,}){top5}  loss {summary['loss']:.4f}"
        )

    def _time_left(self, step: int) -> str:
        done = max(1, step - self._start_step)
        seconds = (time.monotonic() - self._start_time) / done * (self._total - step)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"

    def _write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        if not self.enabled or (kind == "eval" and step in self._evaluated):
            return
        try:
            self._file.write(json.dumps({"kind": kind, "step": step} | dict(values)) + "\n")
            self._file.flush()
            for name, value in values.items():
                self._events.write_event(
                    Event(wall_time=time.time(), step=step, summary=scalar(f"{kind}/{name}", value))
                )
            now = time.monotonic()
            if kind == "eval" or now - self._flushed > _FLUSH_EVERY:
                self._events.flush()
                self._flushed = now
        except OSError as error:
            if self._strict:
                raise
            log.error("Metrics of step %d were not written: %s", step, error)

    def close(self) -> None:
        """Ends the bar and flushes the files."""
        if self._bar is not None:
            self._bar.stop()
        if self.enabled:
            for file in (self._file, self._events):
                with contextlib.suppress(OSError):
                    file.close()


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _drop_after(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    rows = read_metrics(path)
    kept = [row for row in rows if row["step"] <= step]
    if rows:
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        temporary.replace(path)
    return kept
