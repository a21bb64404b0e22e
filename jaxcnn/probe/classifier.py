"""A linear classifier on features: softmax regression with a penalty that cross-validation picks.

The loss is the mean cross entropy plus `l2 / 2` times the squared weights of standardised
features; the biases are free. In 64 bits, on the host: features are small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

Solver = Literal["lbfgs", "sgd"]
L2_GRID = tuple(10.0**power for power in range(-4, 2))
FOLDS = 5
_SMALL = 2**20


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Logits of features `x` `[N, C]`: `x @ kernel + bias`, `[N, classes]`."""

    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x, np.float64) @ self.kernel + self.bias

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Share of the examples whose label scores highest, in [0, 1]."""
        return float(np.mean(self.logits(x).argmax(1) == labels))

    def loss(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Mean cross entropy."""
        return float(-np.mean(_log_softmax(self.logits(x))[np.arange(len(labels)), labels]))


@dataclasses.dataclass(frozen=True)
class Choice:
    """What cross-validation found for one penalty, over the folds.

    Attributes:
      l2: the penalty.
      loss: mean cross entropy of the examples that were left out.
      accuracy: their mean accuracy, in [0, 1].
      spread: the folds' standard deviation of the accuracy.
    """

    l2: float
    loss: float
    accuracy: float
    spread: float


def fit_classifier(
    x: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    l2: float,
    solver: Solver = "lbfgs",
    seed: int = 0,
) -> Classifier:
    """The classifier of the least loss.

    Args:
      x: `[N, C]`.
      labels: int `[N]`, in `range(num_classes)`.
      num_classes: columns of the logits; a class without examples gets a low bias.
      l2: the penalty.
      solver: `lbfgs` finds the optimum (Liu and Nocedal 1989); `sgd` comes near it in 100 passes
        of momentum SGD, whose memory does not grow with N.
      seed: of the order of `sgd`.
    """
    x = np.asarray(x, np.float64)
    if not len(x) or len(x) != len(labels):
        raise ValueError(f"{len(x)} feature vectors and {len(labels)} labels: give one for each.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"Labels from {labels.min()} to {labels.max()} lie outside {num_classes} classes."
        )
    mean, scale = x.mean(0), x.std(0)
    # A feature that never changes tells nothing: its weight stays 0.
    scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, np.inf)
    solve = {"lbfgs": _lbfgs, "sgd": _sgd}[solver]
    weights = solve((x - mean) / scale, labels, num_classes, l2, seed)
    kernel = weights[1:] / scale[:, None]
    return Classifier(kernel, weights[0] - mean @ kernel)


def cross_validate(
    x: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    grid: Sequence[float] = L2_GRID,
    folds: int = FOLDS,
    solver: Solver = "lbfgs",
    seed: int = 0,
) -> list[Choice]:
    """Scores each penalty on examples that it was not fitted to; the least loss comes first.

    Folds are stratified. Nothing but the given examples is looked at: give the training split's.

    Raises:
      ValueError: examples of fewer than two classes, which need no telling apart; or fewer
        examples of some class than two, which no fold can leave out.
    """
    from sklearn.model_selection import StratifiedKFold

    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"All {len(labels)} examples are of 1 class; a classifier needs 2 or more."
        )
    counts = np.bincount(labels, minlength=num_classes)
    fewest = int(counts[counts > 0].min())
    if fewest < 2:
        raise ValueError(
            "Cross-validation needs at least 2 examples of each class; class number "
            f"{int(np.argmax(counts == 1))} has 1: add some, or take the class out."
        )
    splitter = StratifiedKFold(min(folds, fewest), shuffle=True, random_state=seed)
    parts = list(splitter.split(x, labels))
    choices = []
    for l2 in grid:
        losses, accuracies = [], []
        for train, test in parts:
            fitted = fit_classifier(
                x[train], labels[train], num_classes, l2=l2, solver=solver, seed=seed
            )
            losses.append(fitted.loss(x[test], labels[test]))
            accuracies.append(fitted.accuracy(x[test], labels[test]))
        spread = float(np.std(accuracies, ddof=1))
        choices.append(Choice(l2, float(np.mean(losses)), float(np.mean(accuracies)), spread))
    return sorted(choices, key=lambda choice: choice.loss)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _objective(
    weights: np.ndarray, x: np.ndarray, labels: np.ndarray, l2: float
) -> tuple[float, np.ndarray]:
    """The loss and its gradient; row 0 of `weights` holds the biases."""
    rows = np.arange(len(x))
    log_p = _log_softmax(x @ weights[1:] + weights[0])
    loss = -log_p[rows, labels].mean() + 0.5 * l2 * np.square(weights[1:]).sum()
    residual = np.exp(log_p)
    residual[rows, labels] -= 1
    residual /= len(x)
    gradient = np.vstack([residual.sum(0), x.T @ residual + l2 * weights[1:]])
    return loss, gradient


def _lbfgs(x: np.ndarray, labels: np.ndarray, num_classes: int, l2: float, seed: int) -> np.ndarray:
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    shape = (1 + x.shape[1], num_classes)

    def flat(weights: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = _objective(weights.reshape(shape), x, labels, l2)
        return loss, gradient.ravel()

    options = {"maxiter": 1000, "ftol": 1e-10, "gtol": 1e-6}
    start = np.zeros(shape).ravel()
    # Many small products: threads would wait for each other longer than they compute.
    with threadpool_limits(limits=1 if x.size < _SMALL else None, user_api="blas"):
        found = minimize(flat, start, jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape)


def _sgd(x: np.ndarray, labels: np.ndarray, num_classes: int, l2: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    passes, batch = 100, min(256, len(x))
    weights = np.zeros((1 + x.shape[1], num_classes))
    velocity = np.zeros_like(weights)
    steps = passes * -(-len(x) // batch)
    # The loss curves by at most a half of the features' mean square length, and the penalty.
    rate = 0.5 / (0.5 * (1 + np.square(x).sum(1).mean()) + l2)
    for step in range(steps):
        if step % -(-len(x) // batch) == 0:
            order = rng.permutation(len(x))
            start = 0
        rows = order[start : start + batch]
        start += batch
        _, gradient = _objective(weights, x[rows], labels[rows], l2)
        velocity = 0.9 * velocity + gradient
        weights = weights - rate * 0.5 * (1 + np.cos(np.pi * step / steps)) * velocity
    return weights
