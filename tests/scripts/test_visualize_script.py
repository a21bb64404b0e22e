"""scripts/visualize.py as a person calls it: pictures, and errors of one line with code 2."""

from __future__ import annotations

import functools
import importlib
import json
import pathlib
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import jaxcnn

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the script in this process: its exit code, stdout and stderr."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script, command_line = map(importlib.import_module, ("visualize", "command_line"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["visualize.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            command_line.run(script.main)
        out = capsys.readouterr()
        return left.value.code, out.out, out.err

    yield run
    for name in ("visualize", "command_line"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> pathlib.Path:
    """Weights of small networks, untrained."""
    folder = tmp_path_factory.mktemp("weights")
    rng = np.random.default_rng(0)
    for name in ("small_cnn", "mlp"):
        model = jaxcnn.create_model(name)
        init = functools.partial(model.init, train=False)
        shapes = jax.eval_shape(init, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
        kept = {k: v for k, v in shapes.items() if k != "intermediates"}
        # Positive, since variances are among them.
        variables = jax.tree.map(lambda s: rng.uniform(0.01, 0.2, s.shape).astype("f4"), kept)
        jaxcnn.weights.save(folder / f"{name}.safetensors", variables, model)
    return folder


@pytest.fixture
def photo(tmp_path) -> pathlib.Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_pictures_that_are_asked_for_are_files_named_on_stdout(call, weights, photo, tmp_path):
    network = (weights / "small_cnn.safetensors", "--model", "small_cnn")
    code, out, err = call(
        *network, "--images", photo, "--only", "kernels,saliency", "--output", tmp_path / "new"
    )
    assert (code, err) == (0, "")
    assert out.split() == [str(tmp_path / "new" / f"{k}.png") for k in ("kernels", "saliency")]
    assert all(pathlib.Path(line).stat().st_size > 10_000 for line in out.split())
    code, out, _ = call(*network, "--only", "kernels", "--output", tmp_path, "--format", "svg")
    assert code == 0 and (tmp_path / "kernels.svg").read_text().startswith("<?xml")


def test_images_may_be_a_folder(call, weights, photo, tmp_path):
    network = (weights / "small_cnn.safetensors", "--model", "small_cnn")
    pictures = []
    for given in (photo, photo.parent):
        output = tmp_path / f"of_{given.name}"
        code, _, err = call(*network, "--images", given, "--only", "saliency", "--output", output)
        assert code == 0, err
        pictures.append((output / "saliency.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_learning_curves_of_several_runs_are_one_picture(call, tmp_path):
    record = {"config": {"model": "mlp", "batch_size": 32}, "class_names": ["0", "1"]}
    rows = [{"kind": "eval", "step": s, "loss": 1 / s, "top1": 50.0 + s} for s in range(1, 9)]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(record))
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    runs = [tmp_path / "first", tmp_path / "second"]
    code, out, _ = call(*runs, "--output", tmp_path / "out")
    assert code == 0 and out.strip() == str(tmp_path / "out" / "learning_curves.png")
    code, _, err = call(*runs, "--only", "cam")
    assert code == 2 and "--only cam looks at one network; 2 are given" in err


def test_photos_are_read_where_the_dataset_lies(call, weights, tmp_path, monkeypatch):
    opened = []
    open_source = jaxcnn.data.open_source

    def noted(name, split, *, data_dir=None):
        opened.append((name, split, data_dir))
        return open_source(name, split)

    monkeypatch.setattr("jaxcnn.data.open_source", noted)
    network = (weights / "small_cnn.safetensors", "--model", "small_cnn", "--only", "saliency")
    words = ("--dataset", "digits", "--count", 1, "--output", tmp_path)
    assert call(*network, *words, "--split", "train", "--data-dir", "/data")[0] == 0
    assert call(*network, *words)[0] == 0
    assert opened == [("digits", "train", "/data"), ("digits", "test", None)]


def test_the_list_names_every_kind(call):
    code, out, _ = call("--list")
    names = [line.split()[0] for line in out.splitlines()]
    assert code == 0 and names == ["curves", *jaxcnn.visualize.KINDS]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("small_cnn", ["--only", "kernls"], "did you mean 'kernels'"),
        ("small_cnn", ["--layer", "stag3", "--only", "cam"], "did you mean 'stage3'"),
        ("small_cnn", ["--class", "horse"], "--class 'horse': give a number below 10"),
        ("small_cnn", ["--format", "gif"], "invalid choice: 'gif'"),
        ("small_cnn", ["--onyl", "cam"], "did you mean --only?"),
        ("small_cnn", ["--only", "maximize", "--images", "no.png"], "no.png"),
        ("small_cnn", ["--only", "cam", "--dataset", "digit"], "Unknown dataset 'digit'"),
        (
            "small_cnn",
            ["--only", "cam", "--dataset", "digits", "--count", "0"],
            "0 photos: 'digits'",
        ),
        ("mlp", ["--only", "cam", "--dataset", "digits"], "MLP has no convolution"),
        ("mlp", ["--only", "guided", "--dataset", "digits"], "MLP has no convolution"),
        ("small_cnn", ["--only", "saliency"], "needs at least one photo"),
    ],
)
def test_mistakes_are_one_line_and_code_2(call, weights, tmp_path, name, arguments, message):
    network = (weights / f"{name}.safetensors", "--model", name, "--output", tmp_path)
    code, _, err = call(*network, *arguments)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_photo_that_cannot_be_decoded_is_named(call, weights, photo):
    photo.write_bytes(photo.read_bytes()[:40])
    network = (weights / "small_cnn.safetensors", "--model", "small_cnn", "--only", "cam")
    code, _, err = call(*network, "--images", photo)
    assert code == 2 and "photo.png" in err and err.count("\n") == 1


def test_a_missing_network_is_one_line(call, tmp_path):
    code, _, err = call(tmp_path / "nowhere", "--model", "small_cnn")
    assert code == 2 and "does not exist" in err and err.count("\n") == 1
