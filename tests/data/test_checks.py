"""What is wrong with a dataset is said before the first step."""

from __future__ import annotations

import numpy as np
import pytest

from jaxcnn.data import DataError, Subset, check_source, default_preprocess, open_source, sample
from jaxcnn.data import checks as checks_module
from jaxcnn.data.source import describe


def labelled(array_source, labels):
    source = array_source(len(labels))
    source.labels = lambda: np.asarray(labels)
    return source


def test_a_good_split_passes(array_source):
    check_source(array_source(20), num_classes=10, batch_size=20)


def test_an_empty_split_is_an_error(array_source):
    with pytest.raises(DataError, match=r"'arrays', split 'train' has no examples"):
        check_source(array_source(0), num_classes=10, batch_size=1)


def test_fewer_examples_than_a_batch_are_an_error(array_source):
    with pytest.raises(DataError, match=r"has 7 examples, fewer than one batch of 8.*at most 7"):
        check_source(array_source(7), num_classes=10, batch_size=8)


@pytest.mark.parametrize("label", [-1, 10, 2**40])
def test_a_label_outside_the_classes_names_its_example(array_source, label):
    source = labelled(array_source, [0, 9, label, label])
    with pytest.raises(
        DataError, match=rf"Label {label} of 'arrays', .*index 2, key 'file-2' lies outside 0\.\.9"
    ):
        check_source(source, num_classes=10, batch_size=2)


def test_all_labels_of_prepared_records_are_read(home, make_dataset, to_bytes):
    image = to_bytes(np.zeros((2, 2, 3), np.uint8))
    # TFDS stores -1 for an example without a label.
    make_dataset(home, {"train": [(image, 0)] * 1500 + [(image, -1)]})
    source = open_source("shapes", "train", data_dir=home)
    with pytest.raises(DataError, match=r"Label -1 of 'shapes'"):
        check_source(source, num_classes=3, batch_size=8)


def test_a_split_of_many_gigabytes_is_not_read_for_its_labels(array_source, monkeypatch):
    source = labelled(array_source, [0, 99])
    source.num_bytes, source.read_many = 10**12, lambda indices: []
    check_source(source, num_classes=10, batch_size=2)
    monkeypatch.setattr(checks_module, "SCAN_LIMIT_BYTES", 10**13)
    with pytest.raises(DataError, match="Label 99"):
        check_source(source, num_classes=10, batch_size=2)


def test_the_default_preprocessing_follows_the_images(home, shapes, array_source):
    digits = default_preprocess(open_source("digits", "test"))
    assert (digits.image_size, digits.channels, digits.resize) == ((8, 8), 1, "none")
    photos = default_preprocess(open_source("shapes", "train", data_dir=shapes))
    assert (photos.image_size, photos.channels, photos.resize) == ((224, 224), 3, "shorter")
    assert default_preprocess(array_source(3)).image_size == (224, 224)


def test_a_part_of_a_source_keeps_its_keys_size_and_image_shape(array_source, shapes):
    part = Subset(array_source(30), [7, 21])
    assert [part.key(1), part[1].key] == ["file-21"] * 2
    assert describe(part, 1).endswith("index 1, key 'file-21'")
    whole = open_source("shapes", "train", data_dir=shapes)
    part = sample(whole, 6)
    assert (part.image_shape, part.num_bytes) == (whole.image_shape, whole.num_bytes)
    fixed = open_source("digits", "test")
    assert default_preprocess(Subset(fixed, [5])) == default_preprocess(fixed)
    assert default_preprocess(Subset(fixed, [5])).image_size == (8, 8)
