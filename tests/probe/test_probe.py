"""Cached features, the classifier on them, and the network that comes of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import jaxcnn
from jaxcnn import parallel, probe
from jaxcnn.data import Subset, open_source, read_labels, sample
from jaxcnn.models import create_model, features
from jaxcnn.preprocess import Preprocess

GRAY = Preprocess((8, 8), 1, mean=(0.5,), std=(0.5,), resize="none")


@pytest.fixture(scope="module")
def network():
    model = create_model("small_cnn", num_classes=3)
    return model, model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)


def _blobs(number: int = 300, classes: int = 3, channels: int = 5):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, number)
    x = rng.normal(size=(number, channels)) * np.arange(1, channels + 1) + 10
    x[:, :2] += 2 * np.stack([labels == 1, 2 * (labels == 2)], 1)
    return x, labels


def test_lbfgs_finds_the_optimum_that_scikit_learn_finds():
    x, labels = _blobs()
    ours = probe.fit_classifier(x, labels, 3, l2=0.01)
    z = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-10, max_iter=5000).fit(z, labels)
    logits = z @ theirs.coef_.T + theirs.intercept_

    def centred(values):
        return values - values.mean(1, keepdims=True)

    np.testing.assert_allclose(centred(ours.logits(x)), centred(logits), atol=2e-3)


def test_sgd_comes_near_the_optimum():
    x, labels = _blobs()
    best = probe.fit_classifier(x, labels, 3, l2=0.01)
    sgd = probe.fit_classifier(x, labels, 3, l2=0.01, solver="sgd")
    assert best.loss(x, labels) <= sgd.loss(x, labels) + 1e-3
    assert sgd.loss(x, labels) == pytest.approx(best.loss(x, labels), abs=0.01)


def test_a_constant_feature_and_a_class_without_examples_do_no_harm():
    x, labels = _blobs()
    with_constant = np.hstack([x, np.full((len(x), 1), 7.0)])
    fitted = probe.fit_classifier(with_constant, labels, 4, l2=0.1)
    plain = probe.fit_classifier(x, labels, 4, l2=0.1)
    assert not fitted.kernel[-1].any()
    np.testing.assert_allclose(fitted.logits(with_constant), plain.logits(x), atol=1e-3)
    assert not (fitted.logits(with_constant).argmax(1) == 3).any()


def test_cross_validation_picks_the_penalty_by_loss_on_what_was_left_out():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    noise = rng.normal(size=(40, 60))  # more features than examples, nothing to learn
    choices = probe.cross_validate(noise, labels, 2, grid=(1e-4, 10.0))
    assert choices[0].l2 == 10.0 and choices[0].loss < choices[1].loss
    signal = labels[:, None] * 2.0 + 0.1 * rng.normal(size=(40, 1))
    choices = probe.cross_validate(signal, labels, 2, grid=(1e-4, 10.0))
    assert choices[0].l2 == 1e-4 and choices[0].accuracy == 1
    with pytest.raises(ValueError, match="at least 2 examples of each class"):
        probe.cross_validate(noise[:3], np.array([0, 0, 1]), 2)
    with pytest.raises(ValueError, match="outside 2 classes"):
        probe.fit_classifier(noise, labels + 1, 2, l2=1.0)


@pytest.mark.parametrize(("kind", "devices"), [("jit", 1), ("pmap", 8)])
def test_features_are_the_pooled_taps_of_every_image_in_order(network, kind, devices):
    model, variables = network
    source = Subset(open_source("digits", "test"), range(100))
    mapping = parallel.make_mapping(kind, jax.devices("cpu")[:devices])
    found = probe.compute_features(
        model, variables, source, GRAY, taps=True, batch_size=48, mapping=mapping
    )
    assert list(found.arrays) == ["stage1", "stage2", "stage3", "last"]
    np.testing.assert_array_equal(found.labels, read_labels(source))
    images = np.stack([jaxcnn.data.prepare_image(source[i].image, GRAY) for i in range(100)])
    maps = features(model, variables, (images / 255 - 0.5) / 0.5)
    for tap in ("stage1", "stage3"):
        np.testing.assert_allclose(found.arrays[tap], maps[tap].mean((1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.arrays["last"], found.arrays["stage3"], rtol=1e-5, atol=1e-6)


def test_the_probe_becomes_a_network_that_scores_the_same_everywhere(network, tmp_path):
    model, variables = network
    train, test = (open_source("digits", split) for split in ("train", "test"))
    result = probe.probe(model, variables, Subset(train, range(200)), test, GRAY, folds=2)
    assert result.test_count == 364 and result.choices[0].loss == min(
        choice.loss for choice in result.choices
    )
    fitted, with_head = probe.with_head(model, variables, result.classifier)
    names = train.class_names
    folder = probe.save_folder(tmp_path / "net", "small_cnn", fitted, with_head, GRAY, names)
    loaded = jaxcnn.load_network(folder)
    assert loaded.class_names == names and loaded.name == "small_cnn"
    assert loaded.preprocess.image_size == (8, 8) and loaded.preprocess.mean == (0.5,)
    counted = jaxcnn.evaluate(loaded.model, loaded.variables, test, preprocess=loaded.preprocess)
    assert abs(counted.correct - result.test_correct) <= 1  # 32 bits against 64
    with pytest.raises(FileExistsError, match="name another folder"):
        probe.save_folder(folder, "small_cnn", fitted, with_head, GRAY, names)


def test_a_sample_keeps_the_share_of_each_class():
    source = open_source("digits", "train")
    part = sample(source, 100, seed=3)
    assert len(part) == 100 and np.bincount(part.labels()).tolist() == [10] * 10
    assert part[7].label == source[int(part.indices[7])].label == part.labels()[7]
    assert sample(source, 5000) is source
    assert part.fingerprint != source.fingerprint


def test_auxiliary_heads_of_other_classes_are_left_out(tmp_path):
    model = create_model("googlenet_paper", num_classes=5)
    shapes = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, 224, 224, 3))
    )
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    classifier = probe.Classifier(np.ones((1024, 2)), np.array([0.5, -0.5]))
    fitted, with_head = probe.with_head(model, variables, classifier)
    assert fitted.num_classes == 2 and not any("aux" in n for n in with_head["params"])
    names = ("ant", "bee")
    folder = probe.save_folder(
        tmp_path, "googlenet_paper", fitted, with_head, Preprocess((224, 224)), names
    )
    loaded = jaxcnn.load_network(folder)
    assert loaded.class_names == names and not loaded.model.aux_heads
    np.testing.assert_array_equal(loaded.variables["params"]["head"]["bias"], [0.5, -0.5])
