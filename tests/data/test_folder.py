"""A folder of images is a source, in two layouts, and what is wrong with one is named."""

from __future__ import annotations

import os

import numpy as np
import pytest

from jaxcnn.data import DataError, decode, open_source
from jaxcnn.data.errors import unknown_name
from jaxcnn.data.source import read_labels


@pytest.fixture
def write(tmp_path, to_bytes):
    def write(*paths: str) -> str:
        for path in paths:
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            value = sum(path.encode()) % 256
            file.write_bytes(to_bytes(np.full((3, 2, 3), value, np.uint8)))
        return f"folder:{tmp_path}"

    return write


def test_classes_are_the_folders_and_files_come_in_order(write):
    name = write("dog/b.png", "dog/a.PNG", "cat/z.png", "cat/.hidden.png", ".git/x.png")
    source = open_source(name, "all")
    assert source.class_names == ("cat", "dog")
    assert [source[i].key for i in range(len(source))] == ["cat/z.png", "dog/a.PNG", "dog/b.png"]
    np.testing.assert_array_equal(read_labels(source), [0, 1, 1])
    assert decode(source[2].image, 3)[0, 0, 0] == sum(b"dog/b.png") % 256


def test_files_that_are_no_images_are_left_out(write, tmp_path):
    name = write("cat/a.png")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "readme.md").write_text("nor this")
    assert len(open_source(name, "all")) == 1


def test_without_splits_every_image_is_in_train_or_val(write):
    name = write(*(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)))
    parts = {p: open_source(name, p) for p in ("all", "train", "val")}
    keys = {p: [s[i].key for i in range(len(s))] for p, s in parts.items()}
    assert sorted(keys["train"] + keys["val"]) == keys["all"]
    # A fifth of each class.
    assert [np.bincount(read_labels(parts[p])).tolist() for p in parts] == [
        [10, 10],
        [8, 8],
        [2, 2],
    ]
    # By the names alone: pinned, since results depend on it.
    assert keys["val"] == ["cat/0.png", "cat/8.png", "dog/5.png", "dog/7.png"]


def test_split_folders_share_their_classes(write):
    name = write("train/cat/a.png", "train/dog/b.png", "test/dog/c.png")
    train, test = open_source(name, "train"), open_source(name, "test")
    assert train.class_names == test.class_names == ("cat", "dog")
    assert (test[0].label, test[0].key) == (1, "test/dog/c.png")
    with pytest.raises(DataError, match=r"'tran'\. Did you mean 'train'\?"):
        open_source(name, "tran")


def test_an_unknown_part_names_those_there_are(write):
    with pytest.raises(DataError, match=r"split of .*'test'.*There is: all, train, val"):
        open_source(write("cat/a.png"), "test")


def test_an_empty_class_is_an_error(write, tmp_path):
    name = write("cat/a.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"class folder .*/dog holds no images"):
        open_source(name, "all")


def test_a_mixture_of_the_layouts_is_an_error(write):
    with pytest.raises(DataError, match=r"holds images and dog/ holds folders"):
        open_source(write("cat/a.png", "dog/puppies/b.png"), "all")


def test_folders_in_a_class_are_an_error(write):
    with pytest.raises(DataError, match=r"cat holds a folder, 'kittens'"):
        open_source(write("train/cat/a.png", "train/cat/kittens/b.png"), "train")


@pytest.mark.parametrize(
    ("path", "message"),
    [("/no/such/place", "is no folder"), ("", "has no class folders"), ("empty", "no images")],
)
def test_a_folder_without_images_is_an_error(tmp_path, path, message):
    (tmp_path / "empty" / "class").mkdir(parents=True)
    root = tmp_path / "empty" / "class" if path == "" else tmp_path / path
    with pytest.raises(DataError, match=message):
        open_source(f"folder:{root}", "all")


def test_links_are_followed_and_broken_ones_named(write, tmp_path):
    name = write("cat/a.png")
    (tmp_path / "cat" / "b.png").symlink_to(tmp_path / "cat" / "a.png")
    source = open_source(name, "all")
    assert source[0].image == source[1].image
    (tmp_path / "cat" / "c.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"c.png cannot be read .*broken link"):
        open_source(name, "all")


def test_the_fingerprint_follows_names_and_sizes(write, tmp_path):
    name = write("cat/a.png", "cat/b.png", "dog/c.png")
    first = open_source(name, "all").fingerprint
    os.utime(tmp_path / "cat" / "a.png", (0, 0))
    assert open_source(name, "all").fingerprint == first
    (tmp_path / "cat" / "b.png").rename(tmp_path / "cat" / "d.png")
    assert open_source(name, "all").fingerprint != first


def test_a_name_that_is_hardly_alike_is_not_suggested():
    assert "Did you mean" not in str(unknown_name("dataset", "nope", ["hymenoptera"]))
