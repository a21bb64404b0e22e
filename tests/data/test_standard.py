"""The standard test sets: their labels are read as the papers that made them read them."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxcnn.data import DataError, Subset, match_classes, open_eval_source, open_source
from jaxcnn.data.standard import CIFAR10_CLASSES, STANDARD_SETS

SYNSETS = tuple(f"n{i:08d}" for i in range(12))


@pytest.fixture(scope="module")
def prepare():
    """Prepares a TFDS dataset of given features and examples, without its download."""

    def make(root, name, split, features, examples, config=""):
        configs = [tfds.core.BuilderConfig(name=config, version="1.0.0")] if config else []
        members = {
            "name": name,
            "VERSION": tfds.core.Version("1.0.0"),
            "BUILDER_CONFIGS": configs,
            "_info": lambda self: tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            ),
            "_split_generators": lambda self, manager: {
                split: ((f"{i:05d}", example) for i, example in enumerate(examples))
            },
            "_generate_examples": lambda self: iter(()),
            "__module__": __name__,
        }
        with tfds.core.registered.skip_registration():
            builder = type("Standin", (tfds.core.GeneratorBasedBuilder,), members)(
                data_dir=os.fspath(root), file_format="array_record"
            )
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )

    return make


@pytest.fixture
def image(to_bytes):
    """A picture whose pixels say which example it is."""
    return lambda value: io.BytesIO(to_bytes(np.full((4, 4, 3), value, np.uint8)))


def _imagenet_features():
    """As `imagenet_v2`, `imagenet_a` and `imagenet_r` have them in TFDS 4.9.10."""
    return {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=list(SYNSETS)),
        "file_name": tfds.features.Text(),
    }


def test_real_labels_are_sets_and_images_without_any_are_left_out(home, prepare, image):
    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "original_label": tfds.features.ClassLabel(names=list(SYNSETS)),
        "real_label": tfds.features.Sequence(tfds.features.ClassLabel(names=list(SYNSETS))),
        "file_name": tfds.features.Text(),
    }
    right = [[3], [], [7, 2, 5], [0, 11], []]
    examples = [
        {"image": image(i), "original_label": 9, "real_label": labels, "file_name": f"{i}.JPEG"}
        for i, labels in enumerate(right)
    ]
    prepare(home, "imagenet2012_real", "validation", features, examples)
    source = open_eval_source("imagenet2012_real", data_dir=home)
    assert (len(source), source.excluded, source.split) == (3, 2, "validation")
    # TFDS shuffles; a picture's value is the number of its example.
    from jaxcnn.data import decode

    for i in range(3):
        number = int(decode(source[i].image, 3)[0, 0, 0])
        found = [c for c in source.targets[i].tolist() if c >= 0]
        assert found == right[number] and source[i].label == right[number][0]
    part = Subset(source, [2, 0])
    np.testing.assert_array_equal(part.targets, source.targets[[2, 0]])
    np.testing.assert_array_equal(match_classes(part, SYNSETS[::-1]).targets, part.targets)
    assert source.class_names == SYNSETS
    assert source.fingerprint != open_source(source.name, "validation", data_dir=home).fingerprint


def test_of_a_subset_only_the_classes_that_occur_compete(home, prepare, image):
    labels = [8, 2, 8, 5, 2]
    examples = [
        {"image": image(i), "label": label, "file_name": f"{i}.jpg"}
        for i, label in enumerate(labels)
    ]
    prepare(home, "imagenet_a", "test", _imagenet_features(), examples)
    source = open_eval_source("imagenet_a", data_dir=home)
    assert source.logit_index == (2, 5, 8)
    assert source.class_names == tuple(SYNSETS[c] for c in (2, 5, 8))
    assert sorted(source.labels().tolist()) == [0, 0, 1, 2, 2]
    assert sorted(SYNSETS.index(source.class_names[source[i].label]) for i in range(5)) == sorted(
        labels
    )
    # A part of the split is judged among the classes of the whole.
    part = open_eval_source("imagenet_a", "test[:1]", data_dir=home)
    assert (len(part), part.logit_index) == (1, (2, 5, 8))
    # So are some of its examples.
    some = Subset(source, [3, 1])
    assert (some.logit_index, some.network_classes) == ((2, 5, 8), SYNSETS)
    turned = match_classes(some, SYNSETS[::-1])
    assert turned.logit_index == (9, 6, 3)
    assert turned.labels().tolist() == [source[3].label, source[1].label]


def test_a_subset_is_matched_by_name_with_a_network_of_another_order(home, prepare, image):
    examples = [{"image": image(0), "label": 3, "file_name": "0.jpg"}] * 2
    prepare(home, "imagenet_r", "test", _imagenet_features(), examples)
    source = open_eval_source("imagenet_r", data_dir=home)
    assert match_classes(source, [str(i) for i in range(12)], known=False) is source
    turned = match_classes(source, SYNSETS[::-1])
    assert turned.logit_index == (12 - 1 - 3,)


@pytest.mark.parametrize(
    ("name", "config", "split"),
    [("imagenet_v2", "matched-frequency", "test"), ("imagenet2012", "", "validation")],
)
def test_sets_with_single_labels_open_by_their_names(home, prepare, image, name, config, split):
    examples = [{"image": image(4), "label": 4, "file_name": "4/a.jpeg"}] * 3
    prepare(home, name, split, _imagenet_features(), examples, config)
    source = open_eval_source(name, data_dir=home)
    assert (len(source), source[0].label, source.class_names) == (3, 4, SYNSETS)
    assert source.name == (f"{name}/{config}" if config else name)


def test_cifar10_1_gets_the_names_of_cifar10(home, prepare, image):
    features = {
        "image": tfds.features.Image(shape=(4, 4, 3)),
        "label": tfds.features.ClassLabel(num_classes=10),
    }
    examples = [{"image": image(i), "label": i} for i in range(10)]
    prepare(home, "cifar10_1", "test", features, examples, "v4")
    source = open_eval_source("cifar10_1", data_dir=home)
    assert source.class_names == CIFAR10_CLASSES and len(source) == 10
    assert match_classes(source, CIFAR10_CLASSES) is source


def test_the_table_has_the_feature_and_config_names_of_the_installed_tfds():
    for name, row in STANDARD_SETS.items():
        builder = tfds.builder_cls(name)
        configs = [config.name for config in builder.BUILDER_CONFIGS]
        assert not row.config or row.config in configs, name


def test_other_data_are_opened_by_their_first_test_split(home, shapes):
    assert open_eval_source("shapes", data_dir=shapes).split == "test"
    with pytest.raises(DataError, match="Unknown dataset 'shape'"):
        open_eval_source("shape", data_dir=shapes)


def test_classes_of_another_number_or_name_are_refused(home, shapes):
    source = open_source("shapes", "test", data_dir=shapes)
    with pytest.raises(DataError, match=r"has 3 classes \('circle', .*\) and the network 2"):
        match_classes(source, ("circle", "square"))
    with pytest.raises(DataError, match=r"1 of 'shapes''s 3 labels are unknown.*'star'"):
        match_classes(source, ("circle", "square", "moon"))
    assert match_classes(source, ("0", "1", "2"), known=False) is source
    turned = match_classes(source, ("star", "circle", "square"))
    assert turned.logit_index == (1, 2, 0)
    assert Subset(turned, range(3)).logit_index == (1, 2, 0)
