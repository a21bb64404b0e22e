"""Whether a network's probabilities mean what they say."""

from __future__ import annotations

import dataclasses

import numpy as np

BINS = 15


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017, section 2).

    Attributes:
      edges: bounds of the bins, `[bins + 1]`; a bin holds its upper bound.
      count: examples in each bin, int `[bins]`.
      accuracy: share of them that was right, `[bins]`; 0 in an empty bin.
      confidence: mean probability that the network gave its prediction, `[bins]`.
    """

    edges: np.ndarray
    count: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap, each bin weighted by its examples; [0, 1]."""
        return float(np.sum(self.count * self._gap) / max(1, self.count.sum()))

    @property
    def mce(self) -> float:
        """Maximum calibration error: the widest gap of all bins that hold an example."""
        return float(np.max(self._gap[self.count > 0], initial=0.0))

    @property
    def _gap(self) -> np.ndarray:
        return np.abs(self.accuracy - self.confidence)


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Calibration:
    """Sorts predictions into `bins` bins of equal width over (0, 1] by their confidence.

    Args:
      confidence: probability of each prediction `[N]`.
      correct: whether it was right, bool `[N]`.
      bins: their number; 15 as in the paper.
    """
    if bins < 1:
        raise ValueError(f"bins={bins} must be at least 1.")
    p = np.asarray(confidence, np.float64)
    place = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    share = np.maximum(count, 1)
    return Calibration(
        edges=np.linspace(0, 1, bins + 1),
        count=count,
        accuracy=np.bincount(place, np.asarray(correct, np.float64), bins) / share,
        confidence=np.bincount(place, p, bins) / share,
    )
