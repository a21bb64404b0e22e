"""Evaluation: every example once, on any number of devices, or no result."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn import parallel
from jaxcnn.data import EvalSource, Example, Subset, match_classes
from jaxcnn.evaluation import Evaluation, Scoring, evaluate, predict_step
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


def test_a_part_of_a_view_is_scored_by_the_views_classes_and_targets():
    view = match_classes(Pixels(40), CLASSES[::-1])
    targets = np.stack([Pixels(40).label, np.full(40, -1)], 1)
    targets[::3, 1] = 2
    view = dataclasses.replace(view, targets=targets)
    whole = evaluate(Brightness(), {}, view, preprocess=PREPROCESS, batch_size=8)
    part = evaluate(Brightness(), {}, Subset(view, range(20)), preprocess=PREPROCESS, batch_size=8)
    np.testing.assert_array_equal(part.prediction, whole.prediction[:20])
    np.testing.assert_array_equal(part.rank, whole.rank[:20])


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


def test_a_label_outside_the_classes_is_refused():
    source = Pixels(20)
    source.label[7] = -1
    with pytest.raises(ValueError, match="label"):
        evaluate(Brightness(), {}, source, preprocess=PREPROCESS)


class Fixed(nn.Module):
    """Gives the same logits whatever it sees."""

    logits: tuple

    @nn.compact
    def __call__(self, images, *, train):
        return jnp.asarray(self.logits, jnp.float32)


def _batch(label, **more):
    return {"image": np.zeros((len(label), 2, 2, 1), np.uint8), "label": np.array(label)} | more


def test_of_several_right_classes_the_best_counts():
    logits = ((3.0, 2.0, 1.0, 0.0), (3.0, 2.0, 1.0, 0.0), (0.0, 1.0, 2.0, 3.0))
    targets = np.array([[2, 1, -1], [0, 3, 1], [0, -1, -1]], np.int32)
    batch = _batch([2, 0, 0], targets=targets)
    scores = predict_step(Fixed(logits), Scoring(PREPROCESS), {}, batch)
    np.testing.assert_array_equal(scores["rank"], [1, 0, 3])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = [p[0, [1, 2]].sum(), p[1, [0, 1, 3]].sum(), p[2, 0]]
    np.testing.assert_allclose(scores["loss"], -np.log(right), rtol=1e-5)


def test_of_fewer_classes_only_those_compete():
    logits = ((5.0, 1.0, 3.0, 2.0), (0.0, 9.0, 1.0, 2.0))
    scoring = Scoring(PREPROCESS, logit_index=(3, 1), scores=-1)
    scores = predict_step(Fixed(logits), scoring, {}, _batch([0, 0]))
    chosen = np.array(logits)[:, [3, 1]]
    expected = np.exp(chosen) / np.exp(chosen).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores["scores"], expected, rtol=1e-5)
    np.testing.assert_array_equal(scores["prediction"], [0, 1])
    np.testing.assert_array_equal(scores["rank"], [0, 1])


def test_the_highest_scores_come_with_their_classes():
    logits = ((0.0, 4.0, 1.0, 4.0),)
    scores = predict_step(Fixed(logits), Scoring(PREPROCESS, scores=3), {}, _batch([2]))
    p = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_array_equal(scores["score_classes"], [[1, 3, 2]])
    np.testing.assert_allclose(scores["scores"], p[:, [1, 3, 2]], rtol=1e-5)


def test_scores_that_are_not_finite_are_no_result():
    class Broken(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return jnp.where(images[:, 0, 0, :1] > 0.01, jnp.nan, jnp.ones((1, len(CLASSES))))

    with pytest.raises(FloatingPointError, match=r"of \d+ of 20 examples are not finite, first of"):
        evaluate(Broken(), {}, Pixels(20), preprocess=PREPROCESS)


def test_a_network_of_other_classes_is_refused_before_it_computes():
    class Three(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return jnp.zeros((len(images), 3))

    with pytest.raises(ValueError, match="'pixels' has 7 classes and the network scores 3"):
        evaluate(Three(), {}, Pixels(20), preprocess=PREPROCESS)


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="has no examples"):
        evaluate(Brightness(), {}, Pixels(0), preprocess=PREPROCESS)


def _eval_source(size, **fields):
    base = Pixels(size)
    values = {
        "class_names": CLASSES,
        "network_classes": CLASSES,
        "indices": np.arange(size),
        "label": base.label,
    }
    return base, EvalSource(base, **(values | fields))


def test_several_right_classes_go_with_their_examples_through_every_batch():
    rng = np.random.default_rng(3)
    targets = np.stack([rng.permutation(len(CLASSES))[:3] for _ in range(301)]).astype(np.int32)
    targets[::4, 1:] = -1
    base, source = _eval_source(301, label=targets[:, 0].astype(np.int64), targets=targets)
    result = evaluate(Brightness(), {}, source, preprocess=PREPROCESS, batch_size=64)
    right = (targets == base.value[:, None]).any(axis=1)
    np.testing.assert_array_equal(result.hit, right)
    assert np.trace(result.confusion) == right.sum() == result.correct


def test_a_subset_of_the_classes_is_scored_among_itself_alone():
    chosen = (5, 1, 2)
    base = Pixels(200)
    kept = np.flatnonzero(np.isin(base.label, chosen))
    _, source = _eval_source(
        200,
        class_names=tuple(CLASSES[c] for c in chosen),
        indices=kept,
        label=np.array([chosen.index(c) for c in base.label[kept]]),
        logit_index=chosen,
    )
    result = evaluate(Brightness(), {}, source, preprocess=PREPROCESS, batch_size=64)
    distance = np.abs(base.value[kept].astype(int)[:, None] - np.array(chosen))
    np.testing.assert_array_equal(result.prediction, distance.argmin(axis=1))
    assert result.count == len(kept)
