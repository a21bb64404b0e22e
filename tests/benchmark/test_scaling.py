"""The scaling report: its sums, and that a slow input is called by its name."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxcnn.benchmark.scaling import (
    Point,
    efficiencies,
    measure_scaling,
    scaling_lines,
    time_ways,
)
from jaxcnn.data import Example
from jaxcnn.train import DataConfig, TrainConfig, steps
from jaxcnn.train.setup import prepare

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class _SlowSource:
    """Images that take a while to come."""

    seconds: float
    name: str = "slow"
    split: str = "train"
    class_names: tuple[str, ...] = ("a", "b")
    fingerprint: str = "slow"

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Example:
        time.sleep(self.seconds)
        return Example(np.full((8, 8, 1), index, np.uint8), index % 2, str(index))


def _point(seconds: float) -> Point:
    config = TrainConfig(
        model="mlp",
        data=DataConfig(threads=1, resident_mb=0),
        batch_size=8,
        length=steps(100),
    )
    source = _SlowSource(seconds)
    setup = prepare(config, jax.devices("cpu")[:2], sources=(source, source))
    return time_ways(setup, steps=6, rounds=2)


def test_an_input_of_ten_milliseconds_an_image_is_what_binds():
    point = _point(0.01)
    # 8 images by one thread: no more than 100 images/s can come.
    assert point.devices == 2 and point.images_per_second < 105
    assert point.verdict == "input-bound" and point.input > 40
    assert point.compute + point.collectives + point.input > 70


def test_efficiency_is_the_rate_of_each_device_over_the_first():
    points = [Point(1, 8, 100.0, 8.0, 0.0, 2.0), Point(4, 8, 300.0, 8.0, 10.0, 2.0)]
    assert efficiencies(points) == [1.0, 0.75]
    table = scaling_lines(points).splitlines()
    assert table[2] == "| 1 | 100 | 100% | 10.0 | 80% | 0% | 20% | compute-bound |"
    assert table[3] == "| 4 | 300 | 75% | 20.0 | 40% | 50% | 10% | collectives-bound |"


@pytest.mark.slow
def test_the_script_measures_a_config_on_one_and_two_devices(tmp_path):
    path = tmp_path / "scaling.json"
    command = [sys.executable, str(ROOT / "scripts" / "scaling.py"), "digits_mlp"]
    options = ["--devices", "1", "2", "--batch", "16", "--steps", "2", "--rounds", "2"]
    done = subprocess.run(
        [*command, *options, "--json", str(path)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    points = json.loads(path.read_text())["points"]
    assert [p["devices"] for p in points] == [1, 2] and points[0]["efficiency"] == 1.0
    assert all(p["images_per_second"] > 0 and p["compute"] > 0 for p in points)
    assert done.stdout.count("-bound |") == 2
    wrong = subprocess.run([*command, "--devices", "0"], capture_output=True, text=True)
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1


class _Interrupting(int):
    """A number of steps that presses Ctrl-C of the parent where the worker reads it."""

    def __reduce__(self):
        code = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
        return exec, (code,)


def test_ctrl_c_does_not_wait_for_what_is_being_measured():
    # A job of the background inherits that SIGINT is ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            measure_scaling(TrainConfig("mlp"), [1], steps=_Interrupting(1))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert time.monotonic() - started < 30
