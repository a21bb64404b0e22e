"""Two processes as one run: the same numbers as one process, and faults in one end both."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxcnn.train import fit, load_run
from jaxcnn.train.log import read_metrics

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
pytestmark = pytest.mark.slow

# Of the runs in which a process dies; the others have one that a busy machine doesn't miss.
HEARTBEAT = 10


@pytest.fixture(scope="module")
def config():
    """That of the program which the processes run."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location("several", HERE / "several.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.config()
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Runs two processes with two devices each; what they said, and for how long after a fault."""
    cache = tmp_path_factory.mktemp("cache")
    environ = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]),
        JAX_COMPILATION_CACHE_DIR=str(cache),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.2",
    )

    def run(workdir: pathlib.Path, fault: str = "none", *more: str):
        script = [str(HERE / "several.py"), str(workdir), fault, *more]
        command = [sys.executable, str(ROOT / "scripts" / "launch.py"), "2", "--devices", "2", "--"]
        heartbeat = HEARTBEAT if fault in ("die", "raise") else 60
        command += [*script, "--heartbeat-seconds", str(heartbeat)]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=900)
        found = re.search(r"FAULT ([\d.]+)", done.stdout)
        return done, time.time() - float(found[1]) if found else None

    return run


@pytest.fixture(scope="module")
def one(config, tmp_path_factory) -> pathlib.Path:
    """The run on one device of one process."""
    folder = tmp_path_factory.mktemp("one")
    fit(config, folder, devices=jax.devices("cpu")[:1])
    return folder


@pytest.fixture(scope="module")
def undisturbed(launch, one, tmp_path_factory) -> tuple[pathlib.Path, str]:
    """The run on two processes with two devices each, and what it said."""
    folder = tmp_path_factory.mktemp("two")
    done, _ = launch(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("RESULT finished 12") == 2
    # Process 0 alone says what happens.
    said = [line for line in done.stdout.splitlines() if "eval at step" in line]
    assert len(said) == 2 and all(line.startswith("[0]") for line in said)
    return folder, done.stdout


@pytest.fixture(scope="module")
def two(undisturbed) -> pathlib.Path:
    return undisturbed[0]


def _losses(folder: pathlib.Path) -> np.ndarray:
    return np.array([row["loss"] for row in read_metrics(folder / "metrics.jsonl")])


def _same_weights(a: pathlib.Path, b: pathlib.Path) -> None:
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5),
        load_run(a).variables,
        load_run(b).variables,
    )


def test_two_processes_train_as_one_process_on_four_devices_and_as_one_device(
    config, one, two, tmp_path
):
    fit(config, tmp_path, devices=jax.devices("cpu")[:4])
    assert len(_losses(one)) == 14
    np.testing.assert_allclose(_losses(two), _losses(one), rtol=1e-5)
    np.testing.assert_allclose(_losses(two), _losses(tmp_path), rtol=1e-5)
    _same_weights(two, one)


def _cut(folder: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """A copy of a run as if it had ended at step 8."""
    shutil.copytree(folder, to)
    shutil.rmtree(to / "checkpoints" / "12")
    return to


def test_a_checkpoint_of_two_processes_goes_on_in_one(config, one, two, tmp_path, capsys):
    folder = _cut(two, tmp_path / "run")
    fit(config, folder, devices=jax.devices("cpu")[:1])
    said = capsys.readouterr().out
    assert "resuming at step 8 of 12" in said
    assert "written on 4 devices in 2 processes, the run goes on on 1 devices in 1" in said
    np.testing.assert_allclose(_losses(folder), _losses(one), rtol=1e-5)


def test_a_checkpoint_of_one_process_goes_on_in_two_with_a_split_state(
    config, one, launch, tmp_path
):
    split = dataclasses.replace(config, mapping="fsdp")
    fit(split, tmp_path / "whole", devices=jax.devices("cpu")[:1])
    folder = _cut(tmp_path / "whole", tmp_path / "run")
    done, _ = launch(folder, "none", "--mapping", "fsdp")
    assert done.returncode == 0 and "resuming at step 8" in done.stdout, done.stdout
    np.testing.assert_allclose(_losses(folder), _losses(one), rtol=1e-5)
    _same_weights(folder, one)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 0), ("SIGINT", 130)])
def test_a_signal_to_one_process_stops_both_at_one_step_and_saves(
    launch, two, tmp_path, name, code
):
    done, _ = launch(tmp_path / "run", name)
    assert done.returncode == code, done.stdout
    steps = re.findall(r"RESULT interrupted (\d+)", done.stdout)
    assert len(steps) == 2 and steps[0] == steps[1] and 6 <= int(steps[0]) <= 8
    assert (tmp_path / "run" / "checkpoints" / steps[0]).is_dir()


@pytest.mark.parametrize("fault", ["die", "raise"])
def test_a_process_that_ends_ends_the_other_within_twice_the_heartbeat(
    launch, two, tmp_path, fault
):
    done, seconds = launch(tmp_path / "run", fault)
    assert seconds is not None, done.stdout
    assert done.returncode == {"die": 128 + 9, "raise": 2}[fault], done.stdout
    assert seconds < 2 * HEARTBEAT + 5, (seconds, done.stdout)  # 5 for the starter's own end
    assert "RESULT" not in done.stdout
    if fault == "raise":
        assert "[1] error: a fault of this process alone" in done.stdout


def test_a_process_that_hangs_ends_both_with_the_stacks(launch, undisturbed, tmp_path):
    # The limit has to be longer than the start, which takes as long as this machine has to do.
    start = re.search(r"first step ([\d.]+) s after", undisturbed[1])
    limit = max(8, 2 * round(float(start[1])))
    done, seconds = launch(tmp_path / "run", "hang", "--watchdog", str(limit))
    assert done.returncode != 0 and seconds is not None, done.stdout
    assert seconds < limit + 2 * HEARTBEAT, (seconds, done.stdout)
    hanging = [line for line in done.stdout.splitlines() if line.startswith("[1]")]
    assert any("several.py" in line and " in end" in line for line in hanging), done.stdout
