"""What is measured, how ratios are taken, and that both sides do the same work."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from jaxcnn.benchmark import Case, InputCase, environment, measure
from jaxcnn.benchmark.busy import share_of
from jaxcnn.benchmark.feeding import cores_for
from jaxcnn.benchmark.suite import Row, choose, run_suite
from jaxcnn.benchmark.turns import _ratio, _summary

HAS_TORCH = importlib.util.find_spec("torch") is not None


def test_a_case_says_what_is_wrong():
    with pytest.raises(ValueError, match="no model 'cifar_resnet2O'"):
        Case("cifar_resnet2O")
    with pytest.raises(ValueError, match="batch_size=3 is not divisible by 2 devices"):
        Case("lenet5", batch_size=3, devices=2)
    with pytest.raises(ValueError, match="rounds=0 must be at least 1"):
        Case("lenet5", rounds=0)
    with pytest.raises(ValueError, match="'tensorflow' is no side; there are jaxcnn, plain"):
        measure(Case("lenet5"), ("jaxcnn", "tensorflow"))
    with pytest.raises(ValueError, match="'synthetic' stands beside a dataset"):
        measure(Case("lenet5"), ("jaxcnn", "synthetic"))
    with pytest.raises(ValueError, match="steps_per_dispatch=2 needs data on the device"):
        Case("lenet5", steps_per_dispatch=2)
    with pytest.raises(ValueError, match="steps=5 is not a multiple of the 2 in a dispatch"):
        Case("lenet5", dataset="random", steps_per_dispatch=2)
    with pytest.raises(ValueError, match="Real input is measured on jaxcnn's side alone"):
        measure(Case("lenet5", dataset="digits"), ("jaxcnn", "torch"))


def test_an_input_uses_all_cores_where_the_system_has_no_affinities(monkeypatch):
    assert InputCase("digits").workers == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert InputCase("digits").workers == 6
    assert InputCase("digits", cores=2).workers == 2


def test_ratios_are_of_rounds_that_were_taken_together():
    # The machine halves its speed after the first round; the ratio does not notice.
    ours = [{"seconds": s, "cpu_seconds": 2 * s} for s in (1.0, 2.0, 2.0)]
    theirs = [{"seconds": 3 * s, "cpu_seconds": s} for s in (1.0, 2.0, 2.0)]
    ratio = _ratio(ours, theirs)
    assert ratio["speed"] == {"median": 3.0, "rounds": [3.0, 3.0, 3.0]}
    assert ratio["processor_time"]["median"] == 0.5
    summary = _summary(Case("lenet5", batch_size=8, steps=5), ours)
    assert summary["images_per_second"] == 20  # 40 images in the median's 2 seconds
    assert summary["step_milliseconds"] == 400
    assert summary["cpu_milliseconds_per_image"] == 100


def test_the_record_names_device_versions_and_command():
    record = environment()
    assert re.fullmatch(r"cpu, .*, \d+ cores", record["device"])
    assert {"jax", "jaxlib", "flax"} <= record["versions"].keys()
    assert record["command"].startswith("python ")


@pytest.mark.skipif(not HAS_TORCH, reason="needs PyTorch")
@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_the_peers_cifar_resnet_has_the_papers_parameters(depth, parameters):
    import torch

    from jaxcnn.benchmark.peer import _cifar_resnet

    network = _cifar_resnet(torch, depth)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def script(*arguments):
    command = [sys.executable, "scripts/benchmark.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_sides_are_measured_in_turn_on_several_devices():
    case = Case("lenet5", batch_size=8, devices=2, steps=2, rounds=3)
    result = measure(case, ("jaxcnn", "plain"))
    assert list(result["sides"]) == ["jaxcnn", "plain"]
    for side in result["sides"].values():
        assert len(side["rounds"]) == 3
        assert side["images_per_second"] > 0
        assert side["compile_seconds"] > 0
        # More than LeNet-5's 61,706 parameters and their momentum.
        assert side["step_bytes"] > 2 * 4 * 61_706
    ratio = result["ratios"]["plain"]["speed"]
    assert math.isclose(ratio["median"], sorted(ratio["rounds"])[1])


@pytest.mark.slow
def test_the_script_measures_real_input_beside_a_synthetic_one(tmp_path):
    options = ("--batch-size", "8", "--steps", "2", "--rounds", "1")
    options += ("--dataset", "digits", "--limits", "--busy")
    path = tmp_path / "r.json"
    done = script("small_cnn", *options, "--against", "synthetic", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "times the speed of synthetic" in done.stdout
    result = json.loads(path.read_text())
    ours = result["sides"]["jaxcnn"]
    assert result["case"]["dataset"] == "digits" and ours["busy_share"] is None  # no GPU
    step = ours["step_milliseconds"] / 1e3
    share = ours["step_flops"] / step / ours["limits"]["flops_per_second"]
    assert ours["matrix_share"] == pytest.approx(share, abs=1e-3)


@pytest.mark.slow
def test_a_suite_goes_on_where_a_row_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rows = {
        "fails": Row(Case("lenet5", batch_size=4)),
        "runs": Row(Case("lenet5", batch_size=4, dataset="random", steps_per_dispatch=2, steps=2)),
    }
    changes = {"rounds": 1, "steps": 2, "devices": 2}
    told = []
    rows["fails"] = Row(dataclasses.replace(rows["fails"].case, batch_size=3))
    results = run_suite(rows, changes, report=lambda name, result: told.append(name))
    assert told == ["fails", "runs"]
    assert "batch_size=3 is not divisible by 2 devices" in results["fails"]["error"]
    side = results["runs"]["sides"]["jaxcnn"]
    assert side["epoch_seconds"] == pytest.approx(50_000 / side["images_per_second"], rel=1e-3)


def test_suites_name_what_they_have():
    assert {"resnet50_train", "resnet50_infer", "cifar_resnet20_50"} <= choose("gpu").keys()
    assert list(choose("gpu", "resnet50_train_*")) == [
        f"resnet50_train_{n}" for n in (512, 768, 1024)
    ]
    assert {"resnet50_train", "resnext50_train", "resnet18_infer"} <= choose("cpu").keys()
    with pytest.raises(ValueError, match="'vgg99' fits no row of 'gpu': resnet50_train, "):
        choose("gpu", "vgg99")


def test_the_input_is_measured_in_turn_and_its_cores_are_counted():
    case = InputCase("digits", batch_size=16, cores=1, steps=2, rounds=2, warmup=1)
    assert case.size == (8, 8) and not case.crops_at_random
    result = measure(case, ("jaxcnn", "pillow"))
    assert all(side["images_per_second"] > 0 for side in result["sides"].values())
    assert len(result["ratios"]["pillow"]["speed"]["rounds"]) == 2
    # 7,006 images/s at 757 a core are 9.25 cores.
    assert cores_for(7006, 757, 1) == 10 and cores_for(1514, 1514, 2) == 2
    with pytest.raises(ValueError, match="takes random crops of photos"):
        measure(case, ("jaxcnn", "tf.data"))
    with pytest.raises(ValueError, match="'torch' is no side of an input"):
        measure(case, ("jaxcnn", "torch"))


def test_the_busy_share_is_the_union_of_a_gpus_streams():
    def span(thread, begin, duration, device=1):
        return {"ph": "X", "pid": device, "tid": thread, "ts": begin, "dur": duration}

    names = [
        {"name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}},
        {"name": "process_name", "pid": 2, "args": {"name": "/host:CPU"}},
        {"name": "thread_name", "pid": 1, "tid": 7, "args": {"name": "Stream #14(Compute)"}},
        {"name": "thread_name", "pid": 1, "tid": 8, "args": {"name": "Stream #15(MemcpyH2D)"}},
        {"name": "thread_name", "pid": 1, "tid": 9, "args": {"name": "XLA Modules"}},
    ]
    spans = [span(7, 0, 40), span(8, 30, 20), span(7, 90, 10), span(9, 0, 100), span(3, 0, 100, 2)]
    assert share_of(names + spans) == 0.6
    assert share_of(names) is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_sides_end_with_the_script_in_the_middle_of_a_round(number):
    command = [sys.executable, "scripts/benchmark.py", "lenet5", "--steps", "10000000"]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (sides := _working(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sides
    process.send_signal(number)
    process.wait(timeout=10)
    while _working(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _working(process.pid)


def _working(session: int) -> list[int]:
    """Other processes of a session that have computed for more than eight seconds."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            seconds = int(fields[11]) / os.sysconf("SC_CLK_TCK")
            if int(fields[3]) == session and int(path.parent.name) != session and seconds > 8:
                found.append(int(path.parent.name))
    return found


MISTAKES = {
    "there is no folder": ("lenet5", "--json", "nowhere/at/all.json"),
    "is a folder; give a file in it": ("lenet5", "--json", "."),
    "each side stands once": ("lenet5", "--against", "jaxcnn"),
    "no model 'resnet51'": ("resnet51",),
    "Give a network's name": (),
    "unrecognized arguments: --batchsize 8; did you mean --batch-size?": (
        "lenet5",
        "--batchsize",
        "8",
    ),
    "--rate 5.0 goes with --input": ("lenet5", "--rate", "5"),
    "--crop does not go with model": ("lenet5", "--crop", "random"),
    "model does not go with input": ("lenet5", "--input", "digits"),
    "--mode does not go with input": ("--input", "digits", "--mode", "train"),
    "Unknown dataset 'digitz'": ("--input", "digitz"),
    "--threads does not go with suite": ("--suite", "gpu", "--threads", "2"),
    "fits no row": ("--suite", "gpu", "nothing"),
    "rows have their own sides": (
        "--suite",
        "gpu",
        "--against",
        "plain",
    ),
    "batch_size=0 must be at least 1": ("lenet5", "--batch-size", "0"),
    "invalid int value: 'x'": ("lenet5", "--steps", "x"),
    "is no side; there are": ("lenet5", "--against", "tensorflow"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_answered_in_a_line(message, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend("scripts")
    benchmark = importlib.import_module("benchmark")
    with pytest.raises(ValueError, match=re.escape(message)) as found:
        benchmark.main(list(MISTAKES[message]))
    assert "\n" not in str(found.value)


def test_an_error_of_the_script_is_one_line_and_code_2():
    done = script("resnet51")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
