"""Small results that the tests of the evaluation room share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jaxcnn.data import Example
from jaxcnn.evaluation import Evaluation


def rows_of(label: Any, probabilities: Any) -> dict[str, np.ndarray]:
    """What `predict_step` gives for probabilities `[N, classes]`, by plain numpy."""
    label, p = np.asarray(label), np.asarray(probabilities, np.float32)
    order = np.argsort(-p, axis=1, kind="stable")
    return {
        "index": np.arange(len(label)),
        "label": label,
        "prediction": order[:, 0],
        "confidence": p.max(axis=1),
        "rank": np.argmax(order == label[:, None], axis=1),
        "loss": -np.log(p[np.arange(len(label)), label]),
        "scores": p,
    }


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Evaluation]:
    """An evaluation of labels `[N]` and probabilities `[N, classes]`."""

    def make(label: Any, probabilities: Any, class_names: Any = None) -> Evaluation:
        rows = rows_of(label, probabilities)
        classes = rows["scores"].shape[1]
        names = class_names or tuple(f"class{i}" for i in range(classes))
        return Evaluation.from_rows(rows, len(rows["label"]), tuple(names))

    return make


@pytest.fixture(scope="session")
def random_result(make_result) -> Evaluation:
    """200 examples of 6 classes, right about half of the time; class 5 never occurs."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 5, 200)
    logits = rng.normal(size=(200, 6)) + 1.5 * np.eye(6)[label]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return make_result(label, p)


class Pictures:
    """A source of random 8x8 pictures with labels."""

    name, split, fingerprint = "pictures", "test", "f"

    def __init__(self, label: np.ndarray, class_names: tuple[str, ...]) -> None:
        self.label, self.class_names = np.asarray(label), class_names
        rng = np.random.default_rng(1)
        self.images = rng.integers(0, 256, (len(label), 8, 8, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index], int(self.label[index]), self.key(index))

    def key(self, index: int) -> str:
        return f"picture {index}"

    def labels(self) -> np.ndarray:
        return self.label


@pytest.fixture(scope="session")
def pictures() -> type[Pictures]:
    return Pictures
