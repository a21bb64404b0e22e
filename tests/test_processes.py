"""Finding the other processes, and starting several on one machine."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from jaxcnn import launcher
from jaxcnn.launcher import process_commands
from jaxcnn.processes import ProcessOptions, find_launcher

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "scripts" / "launch.py"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_processes": 2}, "need a coordinator"),
        ({"coordinator": "localhost"}, "is not HOST:PORT"),
        ({"coordinator": "h:99999", "num_processes": 2, "process_id": 0}, "is not HOST:PORT"),
        ({"coordinator": "h:1"}, "needs num_processes and process_id"),
        ({"coordinator": "h:1", "num_processes": 2, "process_id": 2}, r"must lie in 0\.\.1"),
        ({"heartbeat_seconds": 0}, "at least 1"),
    ],
)
def test_options_that_cannot_work_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ProcessOptions(**fields)


def test_launchers_are_known_by_their_variables_and_one_task_is_none():
    slurm = dict.fromkeys(("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID"), "1")
    slurm |= {"SLURM_LOCALID": "0"}
    assert find_launcher(slurm | {"SLURM_NTASKS": "4"}) == "slurm"
    assert find_launcher(slurm | {"SLURM_NTASKS": "1"}) is None
    mpi = {"OMPI_MCA_orte_hnp_uri": "x", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}
    assert find_launcher(mpi) == "ompi"
    assert find_launcher({"SLURM_JOB_ID": "7"}) is None
    assert find_launcher({}) is None


def test_a_tpu_pod_is_found_by_its_hosts(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert find_launcher({"TPU_WORKER_HOSTNAMES": "a,b"}) == "tpu"
    assert find_launcher({"TPU_WORKER_HOSTNAMES": "localhost"}) is None
    assert find_launcher({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}) == "tpu"
    assert find_launcher({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}) is None


def test_each_process_gets_its_number_and_its_devices():
    made = process_commands(2, ["x.py", "--a"], 5, {"HOME": "/h"}, devices=2)
    assert [command[-1] for command, _ in made] == ["0", "1"]
    assert made[0][0][:3] == [sys.executable, "x.py", "--a"]
    assert "127.0.0.1:5" in made[0][0] and made[1][1]["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert made[1][1]["JAX_NUM_CPU_DEVICES"] == "2" and made[1][1]["HOME"] == "/h"
    with pytest.raises(ValueError, match="at least one"):
        process_commands(0, ["x.py"], 5, {}, None)
    with pytest.raises(ValueError, match="Nothing to run"):
        process_commands(1, [], 5, {}, None)


def test_the_devices_are_those_of_cuda_visible_devices():
    def given(visible, devices=2, **environ):
        environ["CUDA_VISIBLE_DEVICES"] = visible
        made = process_commands(2, ["x.py"], 5, environ, devices)
        return [own["CUDA_VISIBLE_DEVICES"] for _, own in made]

    assert given("4,5,6,7") == ["4,5", "6,7"]
    assert given("MIG-a,MIG-b,MIG-c", devices=1) == ["MIG-a", "MIG-b"]
    assert given("4", devices=None) == ["4", "4"]
    assert given("4", JAX_PLATFORMS="cpu") == ["4", "4"]
    assert given("") == ["", ""] and given("-1") == ["-1", "-1"]
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES=4,5,6 has 3 GPUs, and N x D are 4"):
        given("4,5,6")


@pytest.mark.parametrize("fault", ["signal", "no process"])
def test_what_was_started_before_all_were_is_ended(monkeypatch, fault):
    started, start = [], launcher._start

    def faulty(*arguments):
        if started and fault == "no process":
            raise BlockingIOError("no more processes")
        started.append(start(*arguments))
        if fault == "signal":
            signal.raise_signal(signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(launcher, "_start", faulty)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    if fault == "signal":
        assert launcher.launch(2, ["sh", "-c", "exec sleep 100"]) == 128 + signal.SIGTERM
    else:
        with pytest.raises(BlockingIOError):
            launcher.launch(2, ["sh", "-c", "exec sleep 100"])
    (process,) = started
    assert process.wait(5) == -signal.SIGKILL
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def _launch(count: int, program: str, tmp_path: pathlib.Path) -> subprocess.Popen[str]:
    script = tmp_path / "program.py"
    script.write_text("import os, signal, sys, time\ni = int(sys.argv[-1])\n" + program)
    command = [sys.executable, str(LAUNCH), str(count), "--", str(script), "--mine", "--", "x"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def test_output_is_marked_and_all_well_is_zero(tmp_path):
    process = _launch(2, "print('argument', sys.argv[1], i)", tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert sorted(out.splitlines()) == ["[0] argument --mine 0", "[1] argument --mine 1"]


def test_one_failure_ends_all_with_its_code(tmp_path):
    program = "print('up', flush=True)\nif i == 1: sys.exit(7)\ntime.sleep(100)"
    started = time.monotonic()
    process = _launch(2, program, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == 7 and time.monotonic() - started < 30


def test_signals_go_on_to_every_process(tmp_path):
    program = (
        "signal.signal(signal.SIGTERM, lambda *_: (print('told', i, flush=True), os._exit(0)))\n"
        "print('up', flush=True)\ntime.sleep(100)"
    )
    process = _launch(2, program, tmp_path)
    up = [process.stdout.readline() for _ in range(2)]
    assert sorted(up) == ["[0] up\n", "[1] up\n"]
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and sorted(out.splitlines()) == ["[0] told 0", "[1] told 1"]
