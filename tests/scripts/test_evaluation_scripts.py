"""evaluate.py, compare.py and robustness.py as a person calls them."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, fit
from jaxcnn.train.duration import steps

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    """A short run of the perceptron on digits, with two checkpoints."""
    folder = tmp_path_factory.mktemp("trained")
    config = TrainConfig(
        model="mlp",
        data=DataConfig(),
        optimizer=OptimizerConfig(learning_rate=0.05, schedule="constant"),
        batch_size=64,
        length=steps(24),
        eval_every=steps(12),
        checkpoint_every=steps(12),
        figures=False,
    )
    fit(config, folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> pathlib.Path:
    """A folder of gray 8x8 images in classes 0 to 9, one of which is damaged."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label in range(10):
        (root / str(label)).mkdir()
        for i in range(5):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / str(label) / f"{i}.png")
    (root / "3" / "2.png").write_bytes(b"no image")
    return root


def test_one_network_gives_every_file(call, trained, tmp_path):
    names = ("e.json", "e.csv", "e.html", "p.csv")
    options = [
        x for n, f in zip(("json", "csv", "report", "predictions"), names, strict=True)
        for x in (f"--{n}", tmp_path / f)
    ]  # fmt: skip
    code, out, err = call("evaluate", trained, *options, "--figures", tmp_path / "figures")
    assert code == 0, err
    record = json.loads((tmp_path / "e.json").read_text())
    last = [json.loads(x) for x in (trained / "metrics.jsonl").read_text().splitlines()][-1]
    assert (record["count"], record["correct"], record["step"]) == (364, last["correct"], 24)
    with open(tmp_path / "e.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["top1"]) == record["top1"]
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["correct"]) for row in rows) == record["correct"]
    assert len(list((tmp_path / "figures").iterdir())) == 3
    written = {name for name in names if f"wrote {tmp_path / name}" in out.replace("\n", "")}
    assert written == set(names)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "figures"])


def test_of_several_networks_a_failed_one_stays_in_the_table(call, trained, tmp_path):
    code, out, err = call(
        *("evaluate", tmp_path / "none", trained, "--checkpoint", "all"),
        *("--json", tmp_path / "t.json", "--predictions", tmp_path / "p{n}.csv"),
    )
    assert code == 1, err
    records = json.loads((tmp_path / "t.json").read_text())
    assert [r.get("step") for r in records[:2]] in ([24, 12], [12, 24])
    assert records[0]["top1"] >= records[1]["top1"]
    assert "does not exist" in records[2]["error"] and "failed" in out
    assert sorted(p.name for p in tmp_path.glob("p*")) == ["p2.csv", "p3.csv"]
    code, out, _ = call("compare", tmp_path / "p2.csv", tmp_path / "p3.csv", "--show", 3)
    assert code == 0 and "McNemar" in out


def test_comparison_writes_what_differs(call, tmp_path):
    header = "index,key,label,prediction\n"
    (tmp_path / "a.csv").write_text(header + "0,x,1,1\n1,y,0,1\n2,z,2,2\n")
    (tmp_path / "b.csv").write_text(header + "0,x,1,0\n1,y,0,0\n2,z,2,2\n")
    code, _, err = call(
        *("compare", tmp_path / "a.csv", tmp_path / "b.csv"),
        *("--json", tmp_path / "c.json", "--differences", tmp_path / "d.csv"),
    )
    assert code == 0, err
    record = json.loads((tmp_path / "c.json").read_text())
    assert (record["only_first_right"], record["only_second_right"]) == (1, 1)
    with open(tmp_path / "d.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["key"], row["right"]) for row in rows] == [("x", "first"), ("y", "second")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{a}"], "required: "),
        (["{a}", "{none}.csv"], "none.csv"),
        (["{a}", "{none}.txt"], "none.txt"),
        (["{a}", "{short}"], "has 3 examples and"),
        (["{a}", "{other}"], "label"),
        (["{a}", "{a}", "--show", "-1"], "--show -1"),
        (["{a}", "{a}", "--jsn", "x"], "did you mean --json?"),
        (["{a}", "{a}", "--json", "{none}/c.json"], "there is no folder"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_leaves_nothing(call, tmp_path, arguments, message):
    texts = {
        "a": "0,x,1,1\n1,y,0,1\n2,z,2,2\n",
        "short": "0,x,1,1\n1,y,0,1\n",
        "other": "0,x,1,1\n1,y,2,1\n2,z,2,2\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text("index,key,label,prediction\n" + text)
    words = {name: tmp_path / f"{name}.csv" for name in texts} | {"none": tmp_path / "none"}
    code, out, err = call("compare", *(a.format(**words) for a in arguments))
    assert code == 2 and message in err and out == "", (out, err)
    assert err.count("\n") == 1 and "Traceback" not in err
    assert len(list(tmp_path.iterdir())) == len(texts)


def test_robustness_of_two_networks_is_one_figure(call, trained, tmp_path):
    code, out, err = call(
        *("robustness", trained, trained, "--names", "one,two", "--corruptions", "jpeg"),
        *("--figure", tmp_path / "r.png", "--json", tmp_path / "r.json"),
    )
    assert code == 0, err
    first, second = json.loads((tmp_path / "r.json").read_text())
    assert first["corruptions"] == second["corruptions"]
    assert (first["name"], second["name"]) == ("one", "two")
    levels = [row["level"] for row in first["corruptions"]["jpeg"]]
    assert levels == [None, 90, 75, 50, 25, 10, 5]
    assert np.asarray(Image.open(tmp_path / "r.png").convert("L")).std() > 5
    assert "one" in out


def test_robustness_writes_every_ending_that_it_accepts(call, trained, tmp_path):
    words = ("robustness", trained, "--split", "test[:20]", "--corruptions", "jpeg")
    files = [tmp_path / name for name in ("r.pdf", "r.json", "r.csv")]
    code, _, err = call(*words, "--figure", files[0], "--json", files[1], "--csv", files[2])
    assert code == 0, err
    assert files[0].read_bytes().startswith(b"%PDF") and all(f.stat().st_size for f in files)
    code, out, err = call(*words, "--figure", tmp_path / "r.gif")
    assert (code, out) == (2, "") and "must be .png, .svg, .pdf" in err


def test_prediction_of_many_images_names_the_bad_ones_and_goes_on(
    call, trained, images, tmp_path, monkeypatch
):
    from jaxcnn.data import augment

    files = sorted(images.glob("?/*.png"))
    assert len(files) == 50
    for number in (2, 3, 4, 5, 6):  # more than one batch
        shutil.copytree(images / str(number), tmp_path / str(number))
    files += [*sorted(tmp_path.glob("?/*.png")), tmp_path / "none.png"]
    shapes = []
    normalize = augment.normalize

    def traced(x, *rest):
        shapes.append(x.shape)
        return normalize(x, *rest)

    monkeypatch.setattr(augment, "normalize", traced)
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = call("predict", trained, *files, "--top", 2)
    assert code == 2 and err.count("\n") == 3
    for bad in (images / "3/2.png", tmp_path / "3/2.png", tmp_path / "none.png"):
        assert f"error: {bad}: " in err
    assert out.count("%") == 2 * 73 and out.count("probability") == 1
    assert all(f"{path} " in out for path in files if f"{path}: " not in err)
    assert shapes == [(64, 8, 8, 1)]  # one program
    # Each image has the probabilities that it has alone.
    last = [line for line in out.splitlines() if f"{tmp_path / '4/4.png'} " in line]
    code, alone, _ = call("predict", trained, tmp_path / "4/4.png", "--top", 2)
    assert code == 0 and last[0].split()[-2] in alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--split", "tset"], "Did you mean 'test'?"),
        (["{run}", "--split", "test[:0]"], "has no examples"),
        (["{run}", "--model", "small_cnn"], "is a run of 'mlp', not of 'small_cnn'"),
        (["{run}", "--checkpoint", "7"], "no checkpoint of step 7"),
        (["{run}", "--checkpoint", "newest"], "give last, best, or a step"),
        (["{run}", "--batch-size", "0"], "--batch-size 0 must be at least 1"),
        (["{run}", "--json", "{tmp}/none/e.json"], "there is no folder"),
        (["{run}", "--json", "{tmp}/x", "--csv", "{tmp}/x"], "have the same name"),
        (["{run}", "--predictions", "{tmp}/p.txt"], "written as .csv or .parquet"),
        (["{run}", "--scores", "3"], "give that too"),
        (["{run}", "{run}", "--predictions", "{tmp}/p.csv"], "need a file each"),
        (["{run}", "--views", "ten_crop"], "Ten crops need a margin"),
        (["{run}", "--dataset", "folder:{images}", "--split", "all"], "3/2.png"),
        (["{weights}", "--dataset", "digits"], "does not say which network it is of"),
        (["{weights}", "--model", "mlp"], "give --dataset NAME"),
        (["{run}", "--class-names", "{names}"], "names 3 classes, and"),
        (["{weights}", "--model", "lenet5", "--dataset", "digits"], "do not fit LeNet5"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(
    call, trained, images, tmp_path, arguments, message
):
    weights = tmp_path / "w" / "mlp.npz"
    weights.parent.mkdir()
    if "{weights}" in arguments:
        import jaxcnn

        network = jaxcnn.load_network(trained)
        jaxcnn.weights.save(weights, network.variables, network.model)
    names = tmp_path / "w" / "names.txt"
    names.write_text("cat\ndog\n\nfish\n")
    words = {"names": names, "run": trained, "tmp": tmp_path, "images": images, "weights": weights}
    if not any(a.startswith(("--json", "--csv")) for a in arguments):
        arguments = [*arguments, "--json", "{tmp}/e.json"]
    code, out, err = call("evaluate", *(a.format(n="{n}", **words) for a in arguments))
    assert code == 2 and message in err and "Traceback" not in err, err
    assert err.count("\n") == 1
    assert out == ""
    shutil.rmtree(weights.parent)
    assert list(tmp_path.iterdir()) == []


def test_classes_of_another_number_are_refused(call, trained, images, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(images, part)
    shutil.rmtree(part / "9")
    code, _, err = call("evaluate", trained, "--dataset", f"folder:{part}", "--split", "all")
    assert code == 2 and "has 9 classes" in err and "the network 10" in err
    (part / "8").rename(part / "eight")
    shutil.copytree(part / "7", part / "9")
    code, _, err = call("evaluate", trained, "--dataset", f"folder:{part}", "--split", "all")
    assert code == 2 and "1 of 'folder:" in err and "unknown to the network: 'eight'" in err


def _run(arguments, *, devices=1):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _on_devices_and_processes(arguments, tmp_path):
    """The JSON from one device, from eight, and from two processes of one device each."""
    script = [SCRIPTS / "evaluate.py", *arguments, "--json"]
    _run([*script, tmp_path / "1.json"])
    _run([*script, tmp_path / "8.json"], devices=8)
    launcher = [SCRIPTS / "launch.py", 2, "--devices", 1, "--"]
    _run([*launcher, *script, tmp_path / "2.json"])
    return [(tmp_path / f"{name}.json").read_text() for name in "182"]


@pytest.mark.slow
def test_devices_and_processes_do_not_change_a_byte(trained, images, tmp_path):
    data = ["--dataset", f"folder:{images}", "--split", "all", "--max-bad", 1]
    one, eight, two = _on_devices_and_processes(
        [trained, *data, "--batch-size", 16, "--views", "flip"], tmp_path
    )
    assert one == eight == two
    record = json.loads(one)
    assert (record["count"], record["bad"]) == (49, 1)


@pytest.mark.slow
def test_published_weights_are_right_8103_times_everywhere(shared, tmp_path):
    weights = shared / "weights" / "cifar_resnet20.safetensors"
    data = ["--dataset", "cifar10_jpeg", "--data-dir", shared / "tfds"]
    one, eight, two = _on_devices_and_processes(
        [weights, "--model", "cifar_resnet20", *data], tmp_path
    )
    record = json.loads(one)
    assert (record["correct"], record["count"]) == (8103, 10_000)
    assert record["top1"] == 81.03
    assert one == eight == two


def test_bare_weights_get_the_names_of_a_file(call, trained, tmp_path):
    import jaxcnn

    network = jaxcnn.load_network(trained)
    jaxcnn.weights.save(tmp_path / "mlp.npz", network.variables, network.model)
    words = [f"digit {i}" for i in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(words))
    Image.new("L", (8, 8), 90).save(tmp_path / "gray.png")
    named = (tmp_path / "mlp.npz", "--model", "mlp", "--class-names", tmp_path / "names.txt")
    code, out, err = call("predict", *named, tmp_path / "gray.png")
    assert code == 0 and "digit " in out, err
    code, _, err = call("evaluate", *named, "--dataset", "digits")
    assert code == 2 and "unknown to the network: '0'" in err
