"""What an evaluation counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.evaluation.calibration import Calibration, calibration
from jaxcnn.evaluation.intervals import wilson_interval


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of each class, all `[classes]` and in [0, 1].

    A class that was never predicted has precision 0; one without examples has recall 0.

    Attributes:
      support: examples of the class.
      predicted: how often it was predicted.
      correct: how often rightly.
    """

    support: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        return self.correct / np.maximum(self.predicted, 1)

    @property
    def recall(self) -> np.ndarray:
        return self.correct / np.maximum(self.support, 1)

    @property
    def f1(self) -> np.ndarray:
        return 2 * self.correct / np.maximum(self.support + self.predicted, 1)

    def macro(self) -> dict[str, float]:
        """Means over the classes that occur as a label or a prediction, as scikit-learn's."""
        seen = (self.support + self.predicted) > 0
        names = ("precision", "recall", "f1")
        return {f"macro_{name}": float(getattr(self, name)[seen].mean()) for name in names}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Exact counts over a split, and one row per example, sorted by index.

    Attributes:
      count: examples scored.
      bad: examples that could not be decoded and were left out by permission.
      correct: examples whose label scored highest.
      correct5: examples whose label was among the five highest.
      loss: mean cross entropy.
      class_names: the classes in the order of the scores.
      index: which example of the split, int `[count]`.
      label: its class `[count]`; of several right ones the first.
      prediction: the highest-scoring class `[count]`.
      confidence: that class's probability `[count]`.
      rank: how many classes score higher than the label `[count]`; 0 is a hit.
      losses: cross entropy `[count]`.
      scores: probabilities, of all classes `[count, classes]` or of the highest `[count, k]`;
        None unless asked for.
      score_classes: the classes of the highest scores `[count, k]`; None where all are there.
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
    rank: np.ndarray
    losses: np.ndarray
    scores: np.ndarray | None = None
    score_classes: np.ndarray | None = None

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
        if not len(index):
            raise ValueError(
                f"None of the {num_examples} examples was scored ({bad} undecodable); no result."
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
            losses=columns.pop("loss"),
            **columns,
        )

    def check_finite(self) -> None:
        """Raises FloatingPointError if an example's scores are NaN or infinite."""
        wrong = np.flatnonzero(~np.isfinite(self.losses))
        if len(wrong):
            raise FloatingPointError(
                f"The scores of {len(wrong)} of {self.count} examples are not finite, first of "
                f"index {self.index[wrong[0]]}; a prediction from them would mean nothing. Use an "
                "earlier checkpoint, or compute in float32."
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
    def hit(self) -> np.ndarray:
        """Whether each prediction is right, bool `[count]`."""
        return self.rank < 1

    @property
    def truth(self) -> np.ndarray:
        """The label, or of several right ones the one that was predicted; `[count]`."""
        return np.where(self.hit, self.prediction, self.label)

    @property
    def confusion(self) -> np.ndarray:
        """How often class i (row) was taken for class j (column); int `[classes, classes]`."""
        n = len(self.class_names)
        cells = self.truth.astype(np.int64) * n + self.prediction
        return np.bincount(cells, minlength=n * n).reshape(n, n)

    @property
    def class_scores(self) -> ClassScores:
        """Precision, recall and F1 of each class."""
        hits = self.prediction[self.hit]
        counts = (
            np.bincount(classes, minlength=len(self.class_names))
            for classes in (self.truth, self.prediction, hits)
        )
        return ClassScores(*counts)

    @property
    def calibration(self) -> Calibration:
        """Confidence against accuracy in 15 bins."""
        return calibration(self.confidence, self.hit)

    def confident_mistakes(self, most: int) -> np.ndarray:
        """Positions (into the rows) of the mistakes, the most confident first."""
        wrong = np.flatnonzero(~self.hit)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:most]

    def summary(self) -> dict[str, Any]:
        """The counts as JSON values; percentages with four decimals, as timm writes them."""
        low, high = wilson_interval(self.correct, self.count)
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


def percent(share: float) -> float:
    """A share as a percentage with four decimals."""
    return round(100 * share, 4)
