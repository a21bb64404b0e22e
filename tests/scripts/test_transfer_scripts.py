"""advise.py and probe.py: what they write, and what they refuse."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcnn import weights
from jaxcnn.models import create_model


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Weights of a small network that was not trained."""
    model = create_model("small_cnn")
    init = jax.jit(lambda key: model.init(key, np.zeros((1, 8, 8, 1), np.float32), train=False))
    path = tmp_path_factory.mktemp("net") / "net.npz"
    weights.save(path, init(jax.random.key(0)), model)
    return path


def test_advice_is_written_with_its_config(call, net, tmp_path):
    code, out, err = call(
        *("advise", net, "--model", "small_cnn", "--dataset", "digits", "--most", 100),
        *("--json", tmp_path / "a.json", "--config", tmp_path / "c.py"),
    )
    assert code == 0, err
    advice = json.loads((tmp_path / "a.json").read_text())
    assert advice["num_examples"] == 1433 and advice["enough"] is True
    assert [depth["tap"] for depth in advice["depths"]] == ["stage1", "stage2", "last"]
    assert f"train.py {tmp_path / 'c.py'}" in out.replace("\n", "")
    # The config is one that train.py takes.
    code, out, err = call("train", tmp_path / "c.py", "--dry-run", "--no-compile")
    assert code == 0 and "small_cnn" in out, err


def test_a_config_of_that_name_is_kept(call, net, tmp_path):
    (tmp_path / "c.py").write_text("mine")
    code, _, err = call(
        *("advise", net, "--model", "small_cnn", "--dataset", "digits", "--most", 100),
        *("--config", tmp_path / "c.py"),
    )
    assert code == 2 and f"--config {tmp_path / 'c.py'} exists; name a new file." in err
    assert (tmp_path / "c.py").read_text() == "mine"


def test_a_probe_writes_a_network_that_predicts(call, net, tmp_path):
    code, out, err = call(
        *("probe", net, "--model", "small_cnn", "--dataset", "digits", "--train-split"),
        *("train[:120]", "--folds", 2, "--output", tmp_path / "p", "--json", tmp_path / "p.json"),
    )
    assert code == 0, err
    found = json.loads((tmp_path / "p.json").read_text())
    assert (found["train_count"], found["count"]) == (120, 364)
    assert found["top1"] == pytest.approx(100 * found["correct"] / 364, abs=1e-4)
    code, out, err = call("evaluate", tmp_path / "p", "--dataset", "digits", "--split", "test")
    assert code == 0 and f"{found['correct']}" in out, err


@pytest.mark.parametrize("script", ["advise", "probe"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: RUN_OR_WEIGHTS, --dataset; --help"),
        (["{net}", "--model", "small_cnn"], "required: --dataset"),
        (["{net}", "--model", "small_cnn", "--datset", "digits"], "--dataset"),
        (["{net}", "--model", "smal_cnn", "--dataset", "digits"], "did you mean 'small_cnn'?"),
        (["{net}", "--dataset", "digits"], "does not say which network it is of"),
        (["{net}", "--model", "lenet5", "--dataset", "digits"], "do not fit LeNet5"),
        (["nothing", "--dataset", "digits"], "does not exist"),
        (["{net}", "--model", "small_cnn", "--dataset", "digist"], "digist"),
        (
            ["{net}", "--model", "small_cnn", "--dataset", "digits", "--train-split", "trian"],
            "Did you mean 'train'?",
        ),
        (
            ["{net}", "--model", "small_cnn", "--dataset", "digits", "--train-split", "train[:0]"],
            "no examples",
        ),
        (
            ["{net}", "--model", "small_cnn", "--dataset", "digits", "--train-split", "train[:5]"],
            "at least 2 examples of each class",
        ),
        (["{net}", "--model", "small_cnn", "--dataset", "digits", "--batch-size", "0"], "--batch"),
        (
            ["{net}", "--model", "small_cnn", "--dataset", "folder:{images}"],
            "are of 1 class",
        ),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(
    call, net, tmp_path, script, arguments, message
):
    images = tmp_path / "images"
    for split in ("train", "test"):
        (images / split / "ant").mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(images / split / "ant" / f"{i}.png")
    words = [a.format(net=net, images=images) for a in arguments]
    code, out, err = call(script, *words, "--json", tmp_path / "out.json")
    assert code == 2 and message in err and "Traceback" not in err, (code, out, err)
    assert err.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["probe", "--folds", "1"], "--folds 1 must be at least 2"),
        (["probe", "--solver", "newton"], "invalid choice: 'newton'"),
        (["probe", "--eval-split", "tset"], "Did you mean 'test'?"),
        (["probe", "--output", "{full}"], "name another folder"),
        (["advise", "--most", "0"], "--most 0 must be at least 1"),
        (["advise", "--most", "ten"], "invalid int value: 'ten'"),
        (["advise", "--config", "{none}/c.py"], "there is no folder"),
        (["advise", "--json", "{none}/a.json"], "there is no folder"),
        (["probe", "--json", "{none}/a.json"], "there is no folder"),
    ],
)
def test_mistakes_of_one_script_are_one_line(call, net, tmp_path, arguments, message):
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("kept")
    script, *rest = (a.format(full=full, none=tmp_path / "none") for a in arguments)
    data = [net, "--model", "small_cnn", "--dataset", "digits"]
    code, _, err = call(script, *data, *rest)
    assert code == 2 and message in err and err.count("\n") == 1, err
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
    assert (full / "x").read_text() == "kept"
