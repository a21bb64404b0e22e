"""The scripts as a person calls them: results, exit codes, and errors of one line."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("run")
    done = call("train", "digits_mlp", "--length", "60steps", "--workdir", folder)
    assert done.returncode == 0, done.stderr
    assert f"everything is in {folder}" in done.stdout.replace("\n", "")
    return folder


def test_a_run_leaves_what_the_docs_name(run):
    for name in ("curves", "confusion", "mistakes"):
        pixels = np.asarray(Image.open(run / "figures" / f"{name}.png").convert("L"))
        assert min(pixels.shape) > 400 and pixels.std() > 5, name
    record = json.loads((run / "config.json").read_text())
    assert record["config"]["model"] == "mlp" and record["versions"]["jax"]
    assert record["class_names"] == [str(d) for d in range(10)]
    assert list((run / "tensorboard").glob("events*"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["kind"] == "eval" and rows[-1]["step"] == 60


def test_evaluation_writes_the_counts_of_the_run(run, tmp_path):
    done = call("evaluate", run, "--json", tmp_path / "e.json", "--batch-size", 100)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "e.json").read_text())
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    assert (report["count"], report["correct"]) == (364, last["correct"])
    assert report["top1"] == pytest.approx(100 * report["correct"] / 364, abs=1e-4)


def test_prediction_names_classes_and_refuses_what_is_no_image(run, tmp_path):
    Image.new("L", (8, 8), 90).save(tmp_path / "gray.png")
    done = call("predict", run, tmp_path / "gray.png")
    assert done.returncode == 0 and done.stdout.count("%") == 5, done.stderr
    (tmp_path / "broken.png").write_bytes((tmp_path / "gray.png").read_bytes()[:40])
    done = call("predict", run, tmp_path / "broken.png")
    assert done.returncode == 2 and "broken.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_images_is_all_of_them(run, tmp_path):
    for shade in (10, 90):
        Image.new("L", (8, 8), shade).save(tmp_path / f"{shade}.png")
    done = call("predict", run, tmp_path, "--top", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("%") == 2
    done = call("predict", run, run)
    assert done.returncode == 2 and "has no images in it" in done.stderr


def test_the_list_of_networks_is_their_names():
    done = call("summarize", "--list", "cifar_resnet20*")
    assert done.stdout.split() == ["cifar_resnet20", "cifar_resnet20_b"]
    assert len(call("summarize", "--list").stdout.split()) > 30


def test_a_photo_of_another_size_is_refused_with_an_option_that_mends_it(run, tmp_path):
    Image.new("RGB", (30, 40), (200, 10, 10)).save(tmp_path / "photo.jpg")
    done = call("predict", run, tmp_path / "photo.jpg")
    assert done.returncode == 2 and "photo.jpg: The image has 40 x 30" in done.stderr
    assert "--resize" in done.stderr
    done = call("predict", run, tmp_path / "photo.jpg", "--resize", "squash")
    assert done.returncode == 0 and done.stdout.count("%") == 5, done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train", ["digits_cn"], "did you mean 'digits_cnn'?"),
        ("train", ["nothere/recipe.py"], "There is no file nothere/recipe.py"),
        ("train", ["digits_cnn", "--dry-run", "--plan-memory", "-3"], "give more than 0"),
        ("train", ["digits_cnn", "--bach-size", "3"], "--batch-size"),
        ("train", ["digits_cnn", "--model", "smal_cnn"], "did you mean 'small_cnn'?"),
        ("train", ["digits_cnn", "--data.train-split", "trian"], "Did you mean 'train'?"),
        ("train", ["digits_cnn", "--batch-size", "abc"], "write --batch-size INT"),
        ("train", ["digits_cnn", "--batch-size", "0"], "must be at least 1"),
        ("train", ["digits_cnn", "--length", "5parsecs"], "write for example 500steps"),
        ("train", ["digits_cnn", "--mapping", "jot"], "('jit', 'fsdp', 'pmap')"),
        ("train", ["digits_cnn", "--profile", "abc"], "invalid int value"),
        ("train", [], "Name a config first"),
        ("launch", ["2", "--", "nothere.py"], "is no file"),
        ("launch", ["2", "--", "scripts/nothere.py"], "scripts/nothere.py is no file"),
        ("launch", ["2", "scripts/train.py", "digits_cnn"], "launch.py 2 -- scripts/train.py"),
        ("launch", ["2", "--device", "1", "train.py"], "launch.py 2 -- train.py"),
        ("summarize", ["nope"], "summarize.py --list"),
        ("summarize", ["--list", "nope*"], "No network is named like 'nope*'"),
        (
            "summarize",
            ["small_cnn", "--num-classes", "-3"],
            "num_classes=-3 must be a whole number",
        ),
        ("predict", ["d0.png", "runs/digits_cnn"], "d0.png is an image; the network"),
        ("predict", [__file__, "d0.png"], "only .safetensors and .npz are read"),
        ("compare", ["nope.csv", __file__], "nope.csv does not exist"),
        ("convert_weights", [__file__, "a.npz"], "converts PyTorch's checkpoints (.pth"),
        ("launch", ["two", "--", "train.py"], "invalid int value"),
        ("verify_resume", [], "required: config"),
        ("scaling", [], "required: config"),
        ("summarize", ["small_cnn", "-o", "x.pdf"], "the ending must be one of .md"),
        ("summarize", ["small_cnn", "-o", "/nowhere/x.md"], "check the path"),
        ("evaluate", ["/nowhere"], "does not exist"),
        ("predict", ["/nowhere", "x.png"], "does not exist"),
    ],
)
def test_mistakes_get_a_line_that_helps_and_code_2(script, arguments, message, tmp_path):
    if script == "train" and arguments:
        arguments = [*arguments, "--workdir", tmp_path / "none"]
    done = call(script, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()
