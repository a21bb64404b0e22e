"""Accuracy under shifts, blur, noise and compression, from one pass over the data."""

from __future__ import annotations

import concurrent.futures
import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.evaluation.corruptions import LEVELS, Border, Condition, conditions
from jaxcnn.evaluation.exact import EvaluationSetup, Tally
from jaxcnn.evaluation.intervals import wilson_interval
from jaxcnn.evaluation.metrics import Evaluation, percent


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Exact counts of one network under each condition.

    Attributes:
      name: what the network is called in tables and figures.
      count: examples.
      correct: right predictions under each condition.
      border: what a shift brings in from outside.
    """

    name: str
    count: int
    correct: Mapping[Condition, int]
    border: Border

    @property
    def clean(self) -> float:
        """Accuracy on the images as they are, in [0, 1]."""
        return self.correct[Condition("clean", None)] / self.count

    def kinds(self) -> list[str]:
        """The kinds of corruption that were tried, in the table's order."""
        return [kind for kind in LEVELS if any(c.kind == kind for c in self.correct)]

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """One row for each level: `level`, and accuracies in [0, 1]: `top1`, `worst`, `best`.

        A shift's `top1` is the mean over its four directions, `worst` and `best` are of single
        directions.
        """
        rows = []
        for level in LEVELS[kind]:
            if level is None:
                shares = [self.clean]
            else:
                found = [c for c in self.correct if c.kind == kind and c.level == level]
                shares = [self.correct[c] / self.count for c in found]
            rows.append(
                {
                    "level": level,
                    "top1": float(np.mean(shares)),
                    "worst": min(shares),
                    "best": max(shares),
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """All counts as JSON values; accuracies in percent."""
        low, high = wilson_interval(self.correct[Condition("clean", None)], self.count)
        return {
            "name": self.name,
            "count": self.count,
            "top1": percent(self.clean),
            "top1_interval95": [percent(low), percent(high)],
            "border": self.border,
            "corruptions": {
                kind: [
                    {
                        "level": row["level"],
                        "top1": percent(row["top1"]),
                        "worst": percent(row["worst"]),
                        "best": percent(row["best"]),
                    }
                    for row in self.rows(kind)
                ]
                for kind in self.kinds()
            },
            "correct": [
                {"kind": c.kind, "level": c.level, "direction": c.direction, "correct": n}
                for c, n in self.correct.items()
            ],
        }


def measure_robustness(
    setup: EvaluationSetup,
    name: str,
    *,
    kinds: Sequence[str] = tuple(LEVELS),
    border: Border = "black",
    threads: int = 8,
    progress: Callable[[int], None] = lambda count: None,
) -> Robustness:
    """Evaluates a network on every example under every condition.

    The images are decoded once, resized and cropped to the network's size, and then changed.

    Args:
      setup: the network and the data.
      name: what to call it.
      kinds: some of `shift`, `blur`, `noise`, `jpeg`.
      border: what a shift brings in from outside (see `corruptions.shift`).
      threads: that change images.
      progress: hears how many examples are done.

    Raises:
      ValueError: an unknown kind, or examples that were not counted exactly once.
    """
    wanted = conditions(tuple(kinds))
    tallies = {condition: Tally(setup.evaluator.mapping) for condition in wanted}
    done = 0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for batch in setup.batches():
            for condition, tally in tallies.items():
                changed = batch | {"image": _change(pool, condition, batch, border)}
                tally.add(setup.evaluator.score(setup.variables, changed))
            done += len(batch["index"])
            progress(min(done, len(setup.source)))
    correct, count = {}, 0
    for condition, tally in tallies.items():
        result = _result(setup, tally)
        correct[condition], count = result.correct, result.count
    return Robustness(name, count, correct, border)


def _result(setup: EvaluationSetup, tally: Tally) -> Evaluation:
    result = setup.evaluator.result(tally, len(setup.source), setup.loader.bad_count)
    result.check_finite()
    return result


def _change(
    pool: concurrent.futures.Executor,
    condition: Condition,
    batch: Mapping[str, np.ndarray],
    border: Border,
) -> np.ndarray:
    if condition.level is None:
        return batch["image"]
    images, index = batch["image"], batch["index"]

    def one(row: int) -> np.ndarray:
        # Padding has index -1, and its score is thrown away.
        return condition.apply(images[row], max(0, int(index[row])), border)

    return np.stack(list(pool.map(one, range(len(images)), chunksize=16)))


def to_csv(results: Sequence[Robustness]) -> str:
    """One row for each network, kind and level; accuracies in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("network", "corruption", "level", "top1", "worst", "best", "count"))
    for result in results:
        for kind in result.kinds():
            for row in result.rows(kind):
                shares = [percent(row[name]) for name in ("top1", "worst", "best")]
                level = "none" if row["level"] is None else row["level"]
                writer.writerow((result.name, kind, level, *shares, result.count))
    return text.getvalue()
