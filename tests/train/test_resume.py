"""A run that is killed and started again ends with the bytes of one that was not."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import DataError
from jaxcnn.train import DataConfig, TrainConfig, fit
from jaxcnn.train.config import to_dict
from jaxcnn.train.duration import steps
from jaxcnn.train.log import read_metrics
from jaxcnn.train.meter import NonFiniteLoss
from jaxcnn.train.run import ConfigMismatch

# Runs a config and prints the digest of everything that a run carries.
PROGRAM = """
import hashlib, json, sys
import jax, numpy as np
from jaxcnn.train import fit
from jaxcnn.train.config import from_dict
result = fit(from_dict(json.loads(sys.argv[1])), sys.argv[2])
state = result.state.replace(key=jax.random.key_data(result.state.key))
digest = hashlib.sha256()
for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
print("DIGEST", digest.hexdigest(), result.status, result.step)
"""


@pytest.fixture
def config(tiny_config) -> TrainConfig:
    """BatchNorm, dropout, momentum, schedule, moving average and augmentation, all in one."""
    return dataclasses.replace(
        tiny_config,
        model="small_cnn",
        ema=0.9,
        length=steps(40),
        eval_every=steps(20),
        checkpoint_every=steps(5),
        optimizer=dataclasses.replace(
            tiny_config.optimizer, schedule="cosine", warmup=steps(4), clip_norm=5.0
        ),
    )


def _start(config: TrainConfig, workdir: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, json.dumps(to_dict(config)), str(workdir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen) -> list[str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return next(line for line in out.splitlines() if line.startswith("DIGEST")).split()[1:]


def _wait_for_step(workdir: pathlib.Path, step: int, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 200
    while time.monotonic() < limit and process.poll() is None:
        done = [int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit()]
        if done and max(done) >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint of step {step}: {process.communicate()[1]}")


@pytest.mark.slow
def test_killed_and_started_again_ends_with_the_same_bytes(config, tmp_path):
    straight = _finish(_start(config, tmp_path / "straight"))
    assert straight[1:] == ["finished", "40"]
    killed = _start(config, tmp_path / "killed")
    _wait_for_step(tmp_path / "killed", 10, killed)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(30) == -signal.SIGKILL
    assert "finished" not in killed.stdout.read()
    assert _finish(_start(config, tmp_path / "killed")) == straight
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("straight", "killed")]
    exact = [
        [(r["kind"], r["step"], r["loss"]) for r in run if r["kind"] == "eval"] for run in rows
    ]
    assert exact[0] == exact[1] and len(exact[0]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_resumes(config, tmp_path, number):
    config = dataclasses.replace(config, length=steps(3000), eval_every=steps(3000))
    process = _start(config, tmp_path)
    _wait_for_step(tmp_path, 5, process)
    process.send_signal(number)
    status, step = _finish(process)[1:]
    assert status == "interrupted" and 5 <= int(step) < 3000
    assert (tmp_path / "checkpoints" / step).is_dir()


def test_streaming_and_resident_data_train_alike_and_resume(tiny_config, tmp_path):
    streaming = dataclasses.replace(
        tiny_config, data=dataclasses.replace(tiny_config.data, resident_mb=0)
    )
    a, b = fit(tiny_config, tmp_path / "a"), fit(streaming, tmp_path / "b")
    assert a.status == "finished" and a.evaluation.count == 364
    jax.tree.map(np.testing.assert_array_equal, a.state.params, b.state.params)
    again = fit(tiny_config, tmp_path / "a")
    jax.tree.map(np.testing.assert_array_equal, a.state.params, again.state.params)
    assert again.evaluation.correct == a.evaluation.correct


@pytest.mark.slow
def test_eight_devices_and_pmap_run_the_whole_loop(tiny_config, tmp_path):
    one = fit(tiny_config, tmp_path / "1", devices=jax.devices("cpu")[:1])
    for kind in ("jit", "pmap"):
        config = dataclasses.replace(tiny_config, mapping=kind, ema=None)
        eight = fit(config, tmp_path / kind, devices=jax.devices("cpu"))
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
            one.state.params,
            eight.state.params,
        )
        assert eight.evaluation.count == 364


def test_a_folder_of_another_config_is_refused(tiny_config, tmp_path):
    fit(dataclasses.replace(tiny_config, length=steps(2)), tmp_path)
    with pytest.raises(ConfigMismatch, match=r"length: '2steps' -> '12steps'.*another --workdir"):
        fit(tiny_config, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tiny_config, tmp_path):
    optimizer = dataclasses.replace(tiny_config.optimizer, learning_rate=1e30)
    config = dataclasses.replace(tiny_config, optimizer=optimizer)
    with pytest.raises(NonFiniteLoss, match=r"Step \d+: .*learning rate 1e\+30"):
        fit(config, tmp_path)
    assert not [p for p in (tmp_path / "checkpoints").glob("*") if p.name.isdigit()]


def test_what_cannot_work_is_refused_before_the_first_step(tiny_config, tmp_path):
    def refused(message, devices=None, **fields):
        with pytest.raises(ValueError, match=message):
            fit(dataclasses.replace(tiny_config, **fields), tmp_path, devices=devices)

    refused("batch_size=64 is not divisible by 6 devices; use 60", jax.devices("cpu")[:6])
    refused("no model 'mpl'", model="mpl")
    refused("1433", batch_size=5000)
    refused("num_devices=99", num_devices=99)
    assert not list(tmp_path.iterdir())


def test_bfloat16_computes_low_and_keeps_float32(tiny_config, tmp_path):
    config = dataclasses.replace(
        tiny_config, dtype="bfloat16", model_args={"dropout": 0.5}, length=steps(4)
    )
    result = fit(config, tmp_path)
    assert {str(p.dtype) for p in jax.tree.leaves(result.state.params)} == {"float32"}
    exact = fit(dataclasses.replace(config, dtype="float32"), tmp_path / "32")
    assert 0 < abs(result.evaluation.loss - exact.evaluation.loss) < 0.05


def test_undecodable_images_stop_the_run_or_are_skipped_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    bad = tmp_path / "images" / "train" / "a" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    config = TrainConfig(
        model="mlp",
        data=DataConfig(dataset=f"folder:{tmp_path / 'images'}"),
        batch_size=8,
        length=steps(4),
        figures=False,
    )
    with pytest.raises(DataError, match=r"3\.png"):
        fit(config, tmp_path / "strict")
    lenient = dataclasses.replace(config, data=dataclasses.replace(config.data, max_bad_images=1))
    result = fit(lenient, tmp_path / "lenient")
    assert result.status == "finished" and result.evaluation.count == 16
