"""What is measured, how ratios are taken, and that both sides do the same work."""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys

import pytest

from jaxcnn.benchmark import Case, environment, measure
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
    with pytest.raises(ValueError, match="Real input is measured on jaxcnn's side alone"):
        measure(Case("lenet5", dataset="digits"), ("jaxcnn", "torch"))


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
def test_the_script_measures_real_input_and_inference_and_answers_mistakes_in_a_line(tmp_path):
    options = ("--batch-size", "8", "--steps", "1", "--rounds", "1")
    done = script("small_cnn", "--dataset", "digits", *options, "--json", str(tmp_path / "r.json"))
    assert done.returncode == 0, done.stderr
    assert "images/s" in done.stdout
    assert '"dataset": "digits"' in (tmp_path / "r.json").read_text()
    done = script("resnet51", *options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
