"""Every kind of picture, from networks that were trained: files of a size, with a lot on them."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from jaxcnn import load_network
from jaxcnn.data import open_source
from jaxcnn.preprocess import Preprocess
from jaxcnn.train import DataConfig, TrainConfig, epochs, fit
from jaxcnn.train.figures import make_subject, read_curves
from jaxcnn.visualize import (
    KINDS,
    Ascent,
    Subject,
    draw_pictures,
    draw_runs,
    draw_views,
    unit_views,
)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """Two epochs of the small network on digits."""
    folder = tmp_path_factory.mktemp("digits")
    data = DataConfig()
    config = TrainConfig(model="small_cnn", data=data, batch_size=32, length=epochs(2))
    fit(dataclasses.replace(config, figures=False), folder)
    return folder


def draws_everything(subject: Subject, folder, is_picture) -> None:
    subject = dataclasses.replace(subject, ascent=Ascent(steps=20))
    found = dict(draw_pictures(subject, folder))
    assert list(found) == list(KINDS)
    for kind, path in found.items():
        assert path == folder / f"{kind}.png", f"{kind}: {path}"
        is_picture(path, kind)
    assert len({path.read_bytes() for path in found.values()}) == len(KINDS)


@pytest.mark.slow
def test_every_kind_is_drawn_from_a_trained_digits_network(digits_run, tmp_path, is_picture):
    network = load_network(digits_run)
    draws_everything(make_subject(network, open_source("digits", "test"), 2), tmp_path, is_picture)
    draw_runs(read_curves([digits_run]), tmp_path / "curves.png")
    is_picture(tmp_path / "curves.png", ink=0.02)


@pytest.mark.slow
def test_every_kind_is_drawn_from_the_published_resnet20(shared, tmp_path, is_picture):
    network = load_network(shared / "weights" / "cifar_resnet20.safetensors", "cifar_resnet20")
    source = open_source("cifar10_jpeg", "test", data_dir=str(shared / "tfds"))
    draws_everything(make_subject(network, source, 2), tmp_path, is_picture)


@pytest.fixture
def untrained(draw) -> Subject:
    photos = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), dtype=np.uint8)
    preprocess = Preprocess((8, 8), 1, (0.5,), (0.5,), resize="none")
    model, variables = draw("mlp", (8, 8, 1))
    return Subject("mlp", model, variables, preprocess, list("0123456789"), photos)


@pytest.mark.slow
def test_what_a_network_cannot_show_is_left_out_with_the_reason(untrained, tmp_path, is_picture):
    found = dict(draw_pictures(untrained, tmp_path))
    for kind in ("kernels", "maps", "cam", "guided", "receptive", "stages"):
        assert re.match("MLP has no (convolution|layer with rows)", found[kind]), kind
    for kind in ("saliency", "occlusion", "maximize", "sanity"):
        is_picture(found[kind], kind)
    with pytest.raises(ValueError, match="MLP has no convolution"):
        list(draw_pictures(untrained, tmp_path, ["cam"]))


def test_of_a_layer_with_fewer_channels_than_classes_all_are_maximized(draw, tmp_path, is_picture):
    model, variables = draw("lenet5", (32, 32, 1))
    preprocess = Preprocess((32, 32), 1, (0.5,), (0.5,))
    names = list("0123456789")
    subject = Subject("lenet5", model, variables, preprocess, names, layer="stage1")
    subject = dataclasses.replace(subject, ascent=Ascent(steps=2))
    ((_, path),) = draw_pictures(subject, tmp_path, ["maximize"])
    is_picture(path)


def test_photos_are_needed_where_they_are_shown(untrained, tmp_path):
    bare = dataclasses.replace(untrained, photos=None)
    found = dict(draw_pictures(bare, tmp_path))
    assert found["saliency"] == "no photos were given" and found["maximize"].is_file()
    with pytest.raises(ValueError, match="needs at least one photo"):
        list(draw_pictures(bare, tmp_path, ["saliency"]))
    other = dataclasses.replace(untrained, photos=np.zeros((1, 9, 9, 1), np.uint8))
    with pytest.raises(ValueError, match="photos of 9x9x1: the network takes 8x8x1"):
        list(draw_pictures(other, tmp_path, ["saliency"]))


def test_kinds_and_formats_are_checked_before_anything_is_drawn(untrained, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'saliency'"):
        list(draw_pictures(untrained, tmp_path, ["salency"]))
    with pytest.raises(ValueError, match="there are png, svg, pdf"):
        list(draw_pictures(untrained, tmp_path, ["saliency"], form="gif"))
    assert not list(tmp_path.iterdir())
    (found,) = draw_pictures(untrained, tmp_path, ["saliency"], form="svg")
    text = found[1].read_text()
    assert text.startswith("<?xml") and "<image" in text
    list(draw_pictures(untrained, tmp_path, ["saliency"], form="svg"))
    assert found[1].read_text() == text  # equal figures are equal files
    pdfs = []
    for _ in range(2):
        (found,) = draw_pictures(untrained, tmp_path, ["saliency"], form="pdf")
        pdfs.append(found[1].read_bytes())
    assert pdfs[0] == pdfs[1] and pdfs[0].startswith(b"%PDF")


def test_boxes_and_several_runs_are_drawn(draw, tmp_path, is_picture):
    model, _ = draw("small_cnn", (8, 8, 1))
    photo = np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8)
    draw_views(photo, unit_views(model, (16, 16), channels=1), tmp_path / "boxes.png", title="t")
    is_picture(tmp_path / "boxes.png")
    train = [
        {"kind": "train", "step": s, "loss": 1 / s, "accuracy": 0.5 + 0.01 * s} for s in range(1, 9)
    ]
    rows = [*train, {"kind": "eval", "step": 8, "loss": 0.3, "top1": 70.0}]
    draw_runs({"a": (rows, 32), "b": (train, 64)}, tmp_path / "runs.png")
    is_picture(tmp_path / "runs.png", ink=0.02)
    with pytest.raises(ValueError, match="run 'c' has no rows"):
        draw_runs({"c": ([], 32)}, tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"runs\.gif: .* must be \.png, \.svg, \.pdf"):
        draw_runs({"a": (rows, 32)}, tmp_path / "runs.gif")


def test_each_kind_is_told_of_before_it_is_drawn(untrained, tmp_path):
    told = []
    drawn = draw_pictures(untrained, tmp_path, ["occlusion", "saliency"], begin=told.append)
    assert [(name, list(told)) for name, _ in drawn] == [
        ("occlusion", ["occlusion"]),
        ("saliency", ["occlusion", "saliency"]),
    ]
