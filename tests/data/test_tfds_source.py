"""Prepared TFDS datasets are found, opened without decoding, and errors say what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxcnn.data import DataError, decode, open_source
from jaxcnn.data.source import read_labels


def test_a_split_gives_encoded_images_with_labels_and_keys(home, shapes):
    source = open_source("shapes", "test", data_dir=shapes)
    assert len(source) == 7
    assert source.class_names == ("circle", "square", "star")
    example = source[3]
    assert example.image[:8] == b"\x89PNG\r\n\x1a\n"
    assert decode(example.image, 3).shape == (6, 5, 3)
    assert example.key == "record 3"
    assert sorted(source[i].label for i in range(7)) == [0, 0, 0, 1, 1, 2, 2]


def test_labels_are_read_without_the_images_and_in_order(home, shapes):
    source = open_source("shapes", "train", data_dir=shapes)
    np.testing.assert_array_equal(read_labels(source), [source[i].label for i in range(30)])


def test_reading_a_block_equals_reading_one_by_one(home, shapes):
    source = open_source("shapes", "train", data_dir=shapes)
    assert source.read_many([5, 0, 29, 5]) == [source[5], source[0], source[29], source[5]]


def test_a_part_of_a_split_is_a_source(home, shapes):
    whole = open_source("shapes", "train", data_dir=shapes)
    part = open_source("shapes", "train[:80%]", data_dir=shapes)
    rest = open_source("shapes", "train[80%:]", data_dir=shapes)
    assert (len(part), len(rest)) == (24, 6)
    assert [part[23].image, rest[0].image] == [whole[23].image, whole[24].image]
    assert len(open_source("shapes", "train+test", data_dir=shapes)) == 37
    assert len(open_source("shapes", "train[:0]", data_dir=shapes)) == 0


def test_the_folder_may_come_from_the_environment(home, shapes, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", os.fspath(shapes))
    assert len(open_source("shapes:1.0.0", "train")) == 30


def test_the_newest_version_is_taken_unless_one_is_named(home, make_dataset, to_bytes):
    image = to_bytes(np.zeros((2, 2, 3), np.uint8))
    for version, count in (("1.9.0", 2), ("1.10.0", 3)):
        make_dataset(home, {"train": [(image, 0)] * count}, version=version)
    assert len(open_source("shapes", "train", data_dir=home)) == 3
    assert len(open_source("shapes:1.9.0", "train", data_dir=home)) == 2
    with pytest.raises(DataError, match=r"'shapes:1.8.0'\. Did you mean 'shapes:1.9.0'\?"):
        open_source("shapes:1.8.0", "train", data_dir=home)


def test_configs_are_named_when_there_are_several(home, make_dataset, to_bytes):
    image = to_bytes(np.zeros((2, 2, 3), np.uint8))
    make_dataset(home, {"train": [(image, 0)]}, config="small")
    assert len(open_source("shapes", "train", data_dir=home)) == 1
    make_dataset(home, {"train": [(image, 0)] * 2}, config="large")
    assert len(open_source("shapes/large:1.0.0", "train", data_dir=home)) == 2
    with pytest.raises(DataError, match=r"several configs: large, small. Name one, as shapes/l"):
        open_source("shapes", "train", data_dir=home)


def test_an_unknown_dataset_names_the_nearest_and_the_command(home, shapes):
    with pytest.raises(
        DataError, match=r"'shape'\. Did you mean 'shapes'\?.*python scripts/prepare_data.py shape`"
    ):
        open_source("shape", "train", data_dir=shapes)


@pytest.mark.parametrize("split", ["tset", "tset[:3]", "train+tset"])
def test_an_unknown_split_names_the_nearest(home, shapes, split):
    with pytest.raises(DataError, match=r"split of 'shapes': 'tset'\. Did you mean 'test'\?"):
        open_source("shapes", split, data_dir=shapes)


def test_a_malformed_part_is_an_error(home, shapes):
    with pytest.raises(DataError, match=r"Cannot read split 'train\[x\]'.*Write a part as"):
        open_source("shapes", "train[x]", data_dir=shapes)


def test_a_data_dir_that_is_not_there_is_an_error(home):
    with pytest.raises(DataError, match=r"data_dir='/no/such/folder' is no folder"):
        open_source("shapes", "train", data_dir="/no/such/folder")


def test_tfrecord_only_gives_the_command_that_converts(home, shapes):
    path = home / "data" / "shapes" / "1.0.0"
    shutil.copytree(shapes / "shapes" / "1.0.0", path)
    for file in path.glob("*array_record*"):
        file.rename(path / file.name.replace("array_record", "tfrecord"))
    info = json.loads((path / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
    (path / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=rf"as tfrecord.*prepare_data.py --convert {path}`"):
        open_source("shapes", "train", data_dir=home / "data")
    # A readable copy further down the list of folders is taken instead.
    shutil.copytree(shapes / "shapes", home / "cache" / "tfds" / "shapes")
    assert len(open_source("shapes", "train", data_dir=home / "data")) == 30


def test_other_names_of_the_features_are_found(home, make_dataset, to_bytes):
    features = {
        "picture": tfds.features.Image(),
        "kind": tfds.features.ClassLabel(names=["a", "b"]),
    }
    image = to_bytes(np.full((2, 2, 3), 9, np.uint8))
    make_dataset(home, {"train": [(image, 1)]}, features=features)
    source = open_source("shapes", "train", data_dir=home)
    assert (source[0].label, source.class_names) == (1, ("a", "b"))


def test_a_dataset_without_a_class_label_lists_its_features(home, make_dataset, to_bytes):
    features = {
        "image": tfds.features.Image(),
        "age": tfds.features.Scalar(dtype=np.int64),
    }
    image = to_bytes(np.zeros((2, 2, 3), np.uint8))
    make_dataset(home, {"train": [(image, 1)]}, features=features)
    with pytest.raises(DataError, match=r"no single label.*age \(Scalar\), image \(Image\)"):
        open_source("shapes", "train", data_dir=home)


def test_a_missing_shard_is_named(home, shapes):
    shutil.copytree(shapes / "shapes", home / "data" / "shapes")
    lost = home / "data/shapes/1.0.0/shapes-test.array_record-00000-of-00001"
    lost.unlink()
    with pytest.raises(DataError, match=rf"lacks 1 of its files, first {lost}"):
        open_source("shapes", "test", data_dir=home / "data")


def test_the_fingerprint_tells_splits_and_versions_apart(home, shapes, make_dataset, to_bytes):
    train = open_source("shapes", "train", data_dir=shapes)
    assert train.fingerprint == open_source("shapes", "train", data_dir=shapes).fingerprint
    copy = home / "elsewhere"
    shutil.copytree(shapes, copy)
    assert open_source("shapes", "train", data_dir=copy).fingerprint == train.fingerprint
    others = [
        open_source("shapes", split, data_dir=shapes).fingerprint
        for split in ("test", "train[:50%]", "train[50%:]")
    ]
    assert len({train.fingerprint, *others}) == 4


def test_digits_prepare_themselves_without_tensorflow_and_only_in_the_cache(home):
    data_dir = home / "given"
    data_dir.mkdir()
    code = (
        "import sys; from jaxcnn.data import open_source;"
        f"s = [len(open_source('digits', p, data_dir={os.fspath(data_dir)!r}))"
        " for p in ('train', 'test')];"
        "assert 'tensorflow' not in sys.modules; print(s)"
    )
    # Two at once: each prepares its own copy and the first to finish wins.
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [run.communicate()[0] for run in runs] == ["[1433, 364]\n"] * 2
    assert [run.returncode for run in runs] == [0, 0]
    assert list(data_dir.iterdir()) == []
    assert [path.name for path in (home / "cache" / "tfds").iterdir()] == ["digits"]


def test_digits_are_scikit_learns_in_a_stratified_split(home):
    from sklearn.datasets import load_digits

    digits = load_digits()
    expected = {
        np.rint(pixels * 255 / 16).astype(np.uint8).tobytes(): label
        for pixels, label in zip(digits.images, digits.target, strict=True)
    }
    seen = {}
    for split in ("train", "test"):
        source = open_source("digits", split)
        for i in range(len(source)):
            seen[decode(source[i].image, 1).tobytes()] = source[i].label
        shares = np.bincount(read_labels(source)) / np.bincount(digits.target)
        share = 0.2 if split == "test" else 0.8
        np.testing.assert_allclose(shares, share, atol=0.005)
    assert seen == expected
    assert len(seen) == 1797


def test_a_cache_that_cannot_be_written_is_named(home, monkeypatch):
    blocker = home / "file"
    blocker.write_text("")
    monkeypatch.setenv("JAXCNN_CACHE", os.fspath(blocker))
    with pytest.raises(DataError, match=r"cannot be written.*Set JAXCNN_CACHE"):
        open_source("digits", "train")


def test_the_shared_datasets_open(home, shared):
    sizes = {("cifar10_jpeg", "train"): 50000, ("hymenoptera", "val"): 153}
    for (name, split), size in sizes.items():
        source = open_source(name, split, data_dir=shared / "tfds")
        assert len(source) == size
        assert 0 <= source[size - 1].label < len(source.class_names)
