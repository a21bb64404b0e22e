"""Evaluation: every example once, on any number of devices, or no result."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import linen as nn

from jaxcnn import parallel
from jaxcnn.data import Example
from jaxcnn.evaluation import Evaluation, Scoring, evaluate, predict_step, wilson_interval
from jaxcnn.preprocess import Preprocess

CLASSES = tuple("abcdefg")
PREPROCESS = Preprocess((2, 2), channels=1, mean=(0.0,), std=(1.0,), resize="none")


class Brightness(nn.Module):
    """Scores each class by how near the first pixel's value is to the class's number."""

    @nn.compact
    def __call__(self, images, *, train):
        value = images[:, 0, 0, :1] * 255
        return -jnp.abs(value - jnp.arange(len(CLASSES)))


class Pixels:
    """A source of 2x2 images whose first pixel is what the network will predict."""

    name, split, class_names, fingerprint = "pixels", "test", CLASSES, "f"

    def __init__(self, size):
        rng = np.random.default_rng(0)
        self.label = rng.integers(0, len(CLASSES), size)
        self.value = rng.integers(0, len(CLASSES), size).astype(np.uint8)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, index):
        image = np.full((2, 2, 1), self.value[index], np.uint8)
        return Example(image, int(self.label[index]), str(index))

    def labels(self):
        return self.label


@pytest.mark.parametrize(("kind", "devices"), [("jit", 8), ("pmap", 8), ("jit", 1)])
def test_10007_examples_are_counted_once_each(kind, devices):
    source = Pixels(10_007)
    mapping = parallel.make_mapping(kind, jax.devices("cpu")[:devices])
    result = evaluate(
        Brightness(), {}, source, preprocess=PREPROCESS, batch_size=128, mapping=mapping
    )
    assert result.count == 10_007
    np.testing.assert_array_equal(result.index, np.arange(10_007))
    np.testing.assert_array_equal(result.label, source.label)
    np.testing.assert_array_equal(result.prediction, source.value)
    assert result.correct == np.sum(source.label == source.value)
    confusion = np.zeros((7, 7), int)
    np.add.at(confusion, (source.label, source.value), 1)
    np.testing.assert_array_equal(result.confusion, confusion)


def _rows(index):
    n = len(index)
    zeros = np.zeros(n, np.int32)
    return {
        "index": np.array(index),
        "label": zeros,
        "prediction": zeros,
        "rank": zeros,
        "loss": np.zeros(n),
        "confidence": np.ones(n),
    }


@pytest.mark.parametrize("index", [[0, 1, 1], [0, 1], [0, 1, 2, 3], [0, 0, 1, 2], []])
def test_missing_or_repeated_examples_give_no_result(index):
    with pytest.raises(ValueError, match="No result is given"):
        Evaluation.from_rows(_rows(index), 3, ("a", "b"))


def test_undecodable_examples_must_be_accounted_for():
    result = Evaluation.from_rows(_rows([0, 2]), 3, ("a", "b"), bad=1)
    assert (result.count, result.bad) == (2, 1)


def test_scores_equal_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 9)).astype(np.float32)
    logits[:, 3] = logits[:, 2]
    label = rng.integers(0, 9, 40)

    class Fixed(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return jnp.asarray(logits)

    batch = {"image": np.zeros((40, 2, 2, 1), np.uint8), "label": label}
    scores = predict_step(Fixed(), Scoring(PREPROCESS), {}, batch)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(scores["loss"], -np.log(p[np.arange(40), label]), rtol=1e-5)
    np.testing.assert_allclose(scores["confidence"], p.max(1), rtol=1e-5)
    np.testing.assert_array_equal(scores["prediction"], logits.argmax(1))
    order = np.argsort(-logits, axis=1, kind="stable")
    np.testing.assert_array_equal(scores["rank"], np.argmax(order == label[:, None], axis=1))


def test_wilson_interval_equals_scipys():
    for successes, trials in ((0, 10), (7, 10), (8103, 10_000), (10, 10)):
        expected = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson_interval(successes, trials), expected, atol=1e-12)


def test_a_label_outside_the_classes_is_refused():
    source = Pixels(20)
    source.label[7] = -1
    with pytest.raises(ValueError, match="label"):
        evaluate(Brightness(), {}, source, preprocess=PREPROCESS)
