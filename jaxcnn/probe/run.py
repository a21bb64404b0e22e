"""The whole linear probe: features, penalty, classifier, score."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import linen as nn

from jaxcnn.data import Source
from jaxcnn.preprocess import Preprocess
from jaxcnn.probe.classifier import (
    FOLDS,
    Choice,
    Classifier,
    Solver,
    cross_validate,
    fit_classifier,
)
from jaxcnn.probe.features import LAST, compute_features


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """A linear probe.

    Attributes:
      classifier: fitted to the whole training split with the chosen penalty.
      choices: every penalty's cross-validated score, the chosen one first.
      train_count: examples that it was fitted to.
      train_correct: of them, how many it gets right.
      test_count: examples of the other split; 0 without one.
      test_correct: of them, how many it gets right.
    """

    classifier: Classifier
    choices: tuple[Choice, ...]
    train_count: int
    train_correct: int
    test_count: int = 0
    test_correct: int = 0

    def summary(self) -> dict[str, Any]:
        """The scores as JSON values; accuracies in percent."""
        best = self.choices[0]
        values: dict[str, Any] = {
            "l2": best.l2,
            "cross_validated_top1": round(100 * best.accuracy, 4),
            "cross_validated_std": round(100 * best.spread, 4),
            "train_count": self.train_count,
            "train_top1": round(100 * self.train_correct / self.train_count, 4),
        }
        if self.test_count:
            values |= {
                "count": self.test_count,
                "correct": self.test_correct,
                "top1": round(100 * self.test_correct / self.test_count, 4),
            }
        return values


def probe(
    model: nn.Module,
    variables: Any,
    train: Source,
    test: Source | None,
    preprocess: Preprocess,
    *,
    solver: Solver = "lbfgs",
    folds: int = FOLDS,
    seed: int = 0,
    batch_size: int = 256,
) -> ProbeResult:
    """Fits a linear classifier to what the network's head would read.

    Args:
      model: the network; its own head is not used.
      variables: its variables.
      train: what is fitted to, and cross-validated on.
      test: what is scored at the end, and never looked at before; None scores nothing.
      preprocess: how an image becomes an input.
      solver: `lbfgs` or `sgd`.
      folds: of the cross-validation.
      seed: of the folds, and of `sgd`.
      batch_size: of the features.

    Raises:
      ValueError: splits of different classes, or too few examples of a class.
    """
    classes = len(train.class_names)
    if test is not None and tuple(test.class_names) != tuple(train.class_names):
        raise ValueError(
            f"{train.split!r} has {classes} classes and {test.split!r} has "
            f"{len(test.class_names)} or others; give splits of the same classes."
        )
    found = compute_features(model, variables, train, preprocess, batch_size=batch_size)
    x, labels = found.arrays[LAST], found.labels
    choices = cross_validate(x, labels, classes, folds=folds, solver=solver, seed=seed)
    classifier = fit_classifier(x, labels, classes, l2=choices[0].l2, solver=solver, seed=seed)
    result = ProbeResult(classifier, tuple(choices), len(labels), _correct(classifier, x, labels))
    if test is None:
        return result
    found = compute_features(model, variables, test, preprocess, batch_size=batch_size)
    x, labels = found.arrays[LAST], found.labels
    return dataclasses.replace(
        result, test_count=len(labels), test_correct=_correct(classifier, x, labels)
    )


def _correct(classifier: Classifier, x: Any, labels: Any) -> int:
    return int((classifier.logits(x).argmax(1) == labels).sum())
