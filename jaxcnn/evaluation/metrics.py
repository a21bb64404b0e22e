"""What an evaluation counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Z95 = 1.959963984540054  # the normal distribution's 97.5% quantile


def wilson_interval(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), 95% by default; within [0, 1]."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials}: needs 0 <= successes <= trials, trials >= 1.")
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Exact counts over a split, and one row per example, sorted by index.

    Attributes:
      count: examples scored.
      bad: examples that could not be decoded and were left out by permission.
      correct: examples whose label scored highest.
      correct5: examples whose label was among the five highest.
      loss: mean cross entropy.
      class_names: the classes in the order of the logits.
      index: which example of the split, int `[count]`.
      label: its class `[count]`.
      prediction: the highest-scoring class `[count]`.
      confidence: that class's probability `[count]`.
    """

    count: int
    bad: int
    correct: int
    correct5: int
    loss: float
    class_names: tuple[str, ...]
    index: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray

    @classmethod
    def from_rows(
        cls,
        rows: Mapping[str, np.ndarray],
        num_examples: int,
        class_names: tuple[str, ...],
        bad: int = 0,
    ) -> Evaluation:
        """Counts per-example rows (see `predict_step`).

        Raises:
          ValueError: unless each example of the split is there once, but for the `bad` ones.
        """
        index = rows["index"]
        seen = np.bincount(index, minlength=num_examples) if len(index) else np.zeros(num_examples)
        missing, twice = int(np.sum(seen == 0)), int(np.sum(seen > 1))
        if len(seen) > num_examples or twice or missing != bad:
            raise ValueError(
                f"The evaluation of {num_examples} examples scored {len(index)} rows: "
                f"{missing} examples missing ({bad} of them undecodable), {twice} counted more "
                "than once. No result is given; check the loader that made the batches."
            )
        order = np.argsort(index)
        columns = {name: values[order] for name, values in rows.items()}
        return cls(
            count=len(index),
            bad=bad,
            correct=int(np.sum(columns["rank"] < 1)),
            correct5=int(np.sum(columns["rank"] < 5)),
            loss=float(np.mean(columns["loss"], dtype=np.float64)),
            class_names=tuple(class_names),
            index=columns["index"],
            label=columns["label"],
            prediction=columns["prediction"],
            confidence=columns["confidence"],
        )

    @property
    def top1(self) -> float:
        """Share of examples whose label scored highest, in [0, 1]."""
        return self.correct / self.count

    @property
    def top5(self) -> float:
        """Share of examples whose label was among the five highest, in [0, 1]."""
        return self.correct5 / self.count

    @property
    def confusion(self) -> np.ndarray:
        """How often class i (row) was taken for class j (column); int `[classes, classes]`."""
        n = len(self.class_names)
        cells = self.label.astype(np.int64) * n + self.prediction
        return np.bincount(cells, minlength=n * n).reshape(n, n)

    def confident_mistakes(self, most: int) -> np.ndarray:
        """Positions (into the rows) of the mistakes, the most confident first."""
        wrong = np.flatnonzero(self.prediction != self.label)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:most]

    def summary(self) -> dict[str, Any]:
        """The counts as JSON values; percentages with four decimals, as timm writes them."""
        low, high = wilson_interval(self.correct, self.count)

        def percent(share: float) -> float:
            return round(100 * share, 4)

        return {
            "count": self.count,
            "bad": self.bad,
            "correct": self.correct,
            "top1": percent(self.top1),
            "top1_err": percent(1 - self.top1),
            "top1_interval95": [percent(low), percent(high)],
            "top5": percent(self.top5),
            "top5_err": percent(1 - self.top5),
            "loss": self.loss,
        }
