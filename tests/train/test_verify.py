"""The comparison of two runs, and the script that proves a resume."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from jaxcnn.train.config import TrainConfig
from jaxcnn.train.dispatch import Dispatcher
from jaxcnn.train.prove import prove, run_once, shortened
from jaxcnn.train.verify import digest, example_differences, state_differences

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "verify_resume.py"


def _state(**changes):
    state = {"a": np.zeros((2, 3), np.float32), "key": jax.random.key(3), "step": np.int32(4)}
    return state | changes


def test_the_first_difference_is_named_with_its_place_and_values():
    assert state_differences(_state(), _state()) == []
    assert digest(_state()) == digest(_state()) != digest(_state(step=np.int32(5)))
    other = np.zeros((2, 3), np.float32)
    other[1, 2] = 1e-30
    (line,) = state_differences(_state(), _state(a=other))
    assert line.startswith("a: 1 of 6 values, first at (1, 2): ") and "1e-30" in line
    lines = state_differences(_state(), _state(key=jax.random.key(4), step=np.int32(5)))
    assert [line.split(":")[0] for line in lines] == ["key", "step"]
    (line,) = state_differences(_state(), _state(a=np.zeros((2, 3), np.float16)))
    assert "float32" in line and "float16" in line


def test_the_sign_of_a_zero_is_a_difference():
    (line,) = state_differences(_state(), _state(a=-np.zeros((2, 3), np.float32)))
    assert line.startswith("a: 0 of 6 values")


def test_repeated_steps_must_show_the_same_examples(tmp_path):
    def write(name, rows):
        lines = [json.dumps({"step": s, "examples": e}) + "\n" for s, e in rows]
        (tmp_path / name).write_text("".join(lines))
        return tmp_path / name

    straight = write("a", [(0, "x"), (1, "y"), (2, "z")])
    again = write("b", [(0, "x"), (1, "y"), (1, "y"), (2, "z")])
    with again.open("a") as file:
        file.write('{"step": 3, "exam')
    assert example_differences(straight, again) == []
    wrong = write("c", [(0, "x"), (1, "y"), (1, "q")])
    assert example_differences(straight, wrong) == [
        "step 1: other examples, or another order of them",
        "step 2: not taken",
    ]


def test_the_run_of_the_proof_dispatches_its_steps_as_the_user_s_does(
    tiny_config, tmp_path, monkeypatch
):
    config = dataclasses.replace(tiny_config, steps_per_dispatch=2, num_devices=1)
    counts, advance = [], Dispatcher.advance

    def noted(self, state, step):
        done = advance(self, state, step)
        counts.append(done[-1])
        return done

    monkeypatch.setattr(Dispatcher, "advance", noted)
    run_once(shortened(config, 8, 4), tmp_path)
    assert counts == [2, 2, 2, 2]


def test_ctrl_c_of_the_proof_ends_its_run(tmp_path):
    program = """
    import os, pathlib, signal, sys, time
    pathlib.Path(sys.argv[1]).with_name("pid").write_text(str(os.getpid()))
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    # A job of the background inherits that SIGINT is ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            prove(TrainConfig("mlp"), tmp_path, command, kill_at=1, say=lambda line: None)
    finally:
        signal.signal(signal.SIGINT, previous)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "equal"), [(1, "state, and the examples of every step"), (5, "state")]
)
def test_a_resume_is_proved_by_a_real_kill(tmp_path, size, equal):
    command = [
        *(sys.executable, str(SCRIPT), "digits_mlp", "--steps", "12"),
        *("--folder", str(tmp_path), "--steps-per-dispatch", str(size)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed by SIGKILL" in done.stdout
    assert f"equal: every array of the {equal}\n" in done.stdout
