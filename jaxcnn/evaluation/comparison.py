"""Two models on the same examples: is one better, or is it noise?"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from jaxcnn.evaluation.intervals import mcnemar_exact, tango_interval
from jaxcnn.evaluation.metrics import percent
from jaxcnn.evaluation.predictions import Predictions

_LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Counts of a paired comparison.

    Attributes:
      first: one model's predictions.
      second: the other's, on the same examples.
      both: examples that both got right.
      only_first: that only the first got right.
      only_second: that only the second got right.
      neither: that both got wrong.
    """

    # The keys of `rows`.
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "index",
        "key",
        "label",
        "first",
        "second",
        "label_name",
        "first_name",
        "second_name",
        "right",
    )

    first: Predictions
    second: Predictions
    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def count(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of the second minus accuracy of the first, in [-1, 1]."""
        return (self.only_second - self.only_first) / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Tango's 95% interval of the difference."""
        return tango_interval(self.only_second, self.only_first, self.count)

    @property
    def p_value(self) -> float:
        """McNemar's exact test."""
        return mcnemar_exact(self.only_first, self.only_second)

    @property
    def differing(self) -> np.ndarray:
        """Rows of the examples that one model got right and the other wrong."""
        return np.flatnonzero(self.first.correct != self.second.correct)

    def verdict(self) -> str:
        """The comparison in words."""
        split = self.only_first + self.only_second
        if not split:
            return "Both are right on the same examples: on these data nothing tells them apart."
        low, high = (100 * x for x in self.interval)
        change = 100 * self.difference
        facts = (
            f"B minus A is {change:+.2f} points, 95% interval {low:+.2f} to {high:+.2f}; they "
            f"differ on {split:,} of {self.count:,} examples ({self.only_second:,} go to B, "
            f"{self.only_first:,} to A), McNemar's exact p = {self.p_value:.2g}."
        )
        if self.p_value < _LEVEL:
            better = "B" if self.only_second > self.only_first else "A"
            return f"{better} is better: noise alone would seldom show as much. {facts}"
        return (
            "The difference may be noise: two equally good models would differ at least this "
            f"much in {100 * self.p_value:.0f}% of such samples. {facts}"
        )

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values; accuracies and differences in percent."""
        low, high = self.interval
        return {
            "first": self.first.path,
            "second": self.second.path,
            "count": self.count,
            "first_top1": percent((self.both + self.only_first) / self.count),
            "second_top1": percent((self.both + self.only_second) / self.count),
            "difference": percent(self.difference),
            "difference_interval95": [percent(low), percent(high)],
            "both_right": self.both,
            "only_first_right": self.only_first,
            "only_second_right": self.only_second,
            "both_wrong": self.neither,
            "other_predictions": int(np.sum(self.first.prediction != self.second.prediction)),
            "mcnemar_p": float(f"{self.p_value:.6g}"),
            "may_be_noise": bool(self.p_value >= _LEVEL),
            "verdict": self.verdict(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row for each example that one got right and the other wrong."""
        a, b = self.first, self.second
        return [
            {
                "index": int(a.index[i]),
                "key": a.key[i],
                "label": int(a.label[i]),
                "first": int(a.prediction[i]),
                "second": int(b.prediction[i]),
                "label_name": a.name_of(int(a.label[i])),
                "first_name": a.name_of(int(a.prediction[i])),
                "second_name": b.name_of(int(b.prediction[i])),
                "right": "first" if a.correct[i] else "second",
            }
            for i in self.differing
        ]


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Compares two models on the same examples.

    Raises:
      ValueError: the files are over different examples, name them differently, or give an
        example different labels.
    """
    a, b = first, second
    if len(a.index) != len(b.index) or not np.array_equal(a.index, b.index):
        only_a, only_b = np.setdiff1d(a.index, b.index), np.setdiff1d(b.index, a.index)
        raise ValueError(
            f"{a.path} has {len(a.index)} examples and {b.path} {len(b.index)}: "
            f"{len(only_a)} are only in the first{_example(only_a)}, {len(only_b)} only in the "
            f"second{_example(only_b)}. Evaluate both on the same split."
        )
    other = [i for i, (x, y) in enumerate(zip(a.key, b.key, strict=True)) if x != y]
    if other:
        i = other[0]
        raise ValueError(
            f"{len(other)} examples have other keys, first index {a.index[i]}: {a.key[i]!r} in "
            f"{a.path} and {b.key[i]!r} in {b.path}. Evaluate both on the same split."
        )
    wrong = np.flatnonzero(a.label != b.label)
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"{len(wrong)} examples have other labels, first index {a.index[i]} (key "
            f"{a.key[i]!r}): {a.name_of(int(a.label[i]))} in {a.path} and "
            f"{b.name_of(int(b.label[i]))} in {b.path}. Evaluate both on the same data."
        )
    return Comparison(
        first=a,
        second=b,
        both=int(np.sum(a.correct & b.correct)),
        only_first=int(np.sum(a.correct & ~b.correct)),
        only_second=int(np.sum(~a.correct & b.correct)),
        neither=int(np.sum(~a.correct & ~b.correct)),
    )


def _example(index: np.ndarray) -> str:
    return f" (as index {index[0]})" if len(index) else ""
