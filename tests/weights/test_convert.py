"""Weights in and out: total, exact, and refused with every reason at once."""

from __future__ import annotations

import zipfile

import jax
import numpy as np
import pytest
import recipe

import jaxcnn
from jaxcnn.models import create_model
from jaxcnn.weights import WeightsError, from_torch, load, names, read, save, to_torch


@pytest.fixture(scope="module")
def net():
    model = create_model("cifar_resnet20_b")
    state_dict = {key: recipe.tensor(key, shape) for key, shape in names(model).items()}
    return model, from_torch(state_dict, model)


def test_there_and_back_is_the_same_bits(net, tmp_path):
    model, variables = net
    state_dict = to_torch(variables, model)
    assert state_dict["layer2.0.shortcut.0.weight"].shape == (32, 16, 1, 1)
    assert state_dict["linear.weight"].shape == (10, 64)
    for ending in ("safetensors", "npz"):
        save(tmp_path / f"net.{ending}", variables, model)
        back = load(tmp_path / f"net.{ending}", model)
        assert jax.tree.structure(back) == jax.tree.structure(variables)
        jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_every_mismatch_stands_in_one_error(net):
    model, variables = net
    state_dict = to_torch(variables, model)
    del state_dict["bn1.bias"]
    state_dict["linear.weight"] = np.zeros((7, 64), np.float32)
    state_dict["extra"] = np.zeros(1)
    with pytest.raises(WeightsError) as error:
        from_torch(state_dict, model)
    text = str(error.value)
    assert "3 mismatches" in text and "missing: bn1.bias" in text and "left over: extra" in text
    assert "shape of linear.weight: (7, 64), the network's is (10, 64)" in text


def test_an_image_size_is_any_whole_number_or_pair():
    mlp = create_model("mlp")
    for size in (16, np.int64(16), [16, 16]):
        assert names(mlp, image_size=size)["dense1.weight"] == (256, 256)
    with pytest.raises(ValueError, match=r"image_size=0: give a whole number of at least 1"):
        names(mlp, image_size=0)


def test_broken_and_dangerous_files_are_refused(net, tmp_path):
    model, variables = net
    good = tmp_path / "net.safetensors"
    save(good, variables, model)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="damaged"):
        read(cut)
    pickled = tmp_path / "object.npz"
    np.savez(pickled, a=np.array([{}], dtype=object))
    with pytest.raises(WeightsError, match="pickle"):
        read(pickled)
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match="pickle"):
        read(tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="is no file"):
        read(tmp_path / "none.npz")


def test_a_header_that_declares_more_than_the_file_holds_is_refused(tmp_path):
    path = tmp_path / "lies.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**9,)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(WeightsError, match="declares 4,000,000,000 bytes"):
        read(path)


def test_a_published_resnet20_keeps_its_accuracy_on_real_images(shared):
    from jaxcnn.data import open_source

    model = create_model("cifar_resnet20")
    variables = load(shared / "weights" / "cifar_resnet20.safetensors", model)
    source = open_source("cifar10_jpeg", "test", data_dir=str(shared / "tfds"))
    preprocess = jaxcnn.Preprocess((32, 32), resize="none")
    result = jaxcnn.evaluate(model, variables, source, preprocess=preprocess, batch_size=256)
    assert result.count == 10_000
    assert abs(result.correct - 8_103) <= 2


def test_a_command_lines_error_is_one_line_with_three_mismatches(net):
    model, _ = net
    with pytest.raises(WeightsError) as error:
        from_torch({"fc.weight": np.zeros((7, 64), np.float32)}, model)
    assert str(error.value).count("\n") > 50
    summary = error.value.summary
    assert "\n" not in summary and summary.count("missing: ") == 3
    assert summary.endswith("more.")
    count = str(error.value).count("missing: ") + str(error.value).count("left over: ")
    assert summary.startswith(f"The weights do not fit CifarResNet: {count} mismatches: missing: ")
