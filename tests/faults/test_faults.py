"""Faults in one process: what the person is told, the exit code, and what is on the disk after."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

pytestmark = pytest.mark.slow

PHASES = ("training", "evaluation", "compilation")
CASES = [
    "plain",
    *(f"{name} in {phase}" for phase in PHASES for name in ("term", "int")),
    *(f"{name} twice in {phase}" for phase in PHASES for name in ("term", "int")),
    "term in training > plain",
    "int twice in training > plain",
    "disk full",
    "disk full > plain",
    "disk full, continue",
    "disk full for a while, continue",
    "background failure",
    "background failure > plain",
    "read-only from the start",
    "read-only later",
    "folder deleted",
    "folder deleted, continue",
    "killed with the lock",
    "second run",
    "killed with the lock > plain",
    "hang",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    """All cases in one program, which imports JAX once."""
    command = [sys.executable, str(HERE / "program.py"), str(tmp_path_factory.mktemp("f")), *CASES]
    path = os.pathsep.join([str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")])
    environ = dict(os.environ, PYTHONPATH=path)
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=900)
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULTS")), None)
    assert line is not None, done.stdout + done.stderr
    return json.loads(line.removeprefix("RESULTS"))


def _last_line(result: dict) -> str:
    return result["output"].strip().splitlines()[-1]


def test_a_run_without_a_fault_finishes(results):
    plain = results["plain"]
    assert plain["exit"] == 0 and plain["steps"] == [25, 30], plain["output"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("name", "code"), [("term", 0), ("int", 130)])
def test_one_signal_saves_after_the_step_and_says_so(results, phase, name, code):
    result = results[f"{name} in {phase}"]
    step = {"training": 8, "evaluation": 15, "compilation": 1}[phase]
    assert result["exit"] == code, result["output"]
    assert result["steps"][-1] == step
    assert f"stopped by SIG{name.upper()} at step {step}; the same command" in result["output"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("name", "number"), [("term", 15), ("int", 2)])
def test_a_second_signal_ends_at_once_without_a_save(results, phase, name, number):
    result = results[f"{name} twice in {phase}"]
    ended = result["exit"] if result["signal"] is None else 128 + result["signal"]
    assert ended == 128 + number, result["output"]
    assert "stopped by" not in result["output"] and "everything is in" not in result["output"]
    before = {"training": [5], "evaluation": [5, 10], "compilation": []}[phase]
    assert set(result["steps"]) <= set(before)


@pytest.mark.parametrize(
    "case", ["term in training", "int twice in training", "disk full", "background failure"]
)
def test_the_same_command_goes_on_to_the_same_end(results, case):
    again, plain = results[f"{case} > plain"], results["plain"]
    assert "resuming at step" in again["output"] and again["exit"] == 0
    ends = [
        [line for line in r["output"].splitlines() if line.startswith("eval at step 30")]
        for r in (again, plain)
    ]
    assert ends[0] == ends[1] and len(ends[0]) == 1


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("disk full", "error: The checkpoint of step 10 was not written: .*File too large"),
        ("background failure", "error: The checkpoint of step 10 was not written: .*No space"),
        ("read-only from the start", "error: .*Permission denied"),
        ("read-only later", "error: The checkpoint of step 1[05] was not written: .*Permission"),
        ("folder deleted", "error: .*was deleted or replaced"),
        ("second run", r"error: .* is in use by process \d+ on .* give another --workdir"),
    ],
)
def test_a_save_that_did_not_happen_stops_the_run_with_a_line(results, case, message):
    result = results[case]
    assert result["exit"] == 2, result["output"]
    assert re.search(message, _last_line(result)), result["output"]
    assert "everything is in" not in result["output"]
    assert 30 not in result["steps"]


def test_a_run_that_is_to_go_on_goes_on_and_fails_only_if_its_last_save_does(results):
    full, short = results["disk full, continue"], results["disk full for a while, continue"]
    assert "eval at step 30" in full["output"] and full["exit"] == 2 and full["steps"] == [5]
    assert _last_line(full).startswith("error: The checkpoint of step 30 was not written")
    assert short["exit"] == 0 and short["steps"][-1] == 30
    assert "step 10 was not written" in short["output"]
    gone = results["folder deleted, continue"]
    assert gone["exit"] == 2 and "was deleted or replaced" in _last_line(gone)


def test_the_lock_dies_with_its_process(results):
    assert results["killed with the lock"]["signal"] == 9
    assert results["killed with the lock > plain"]["exit"] == 0


def test_a_run_that_hangs_is_ended_with_its_stacks(results):
    hang = results["hang"]
    assert hang["exit"] == 1 and hang["seconds"] < 60, hang["output"]
    assert "Timeout (0:00:06)!" in hang["output"] and hang["output"].count("Thread 0x") > 1
    assert 'program.py", line' in hang["output"] and 'loop.py", line' in hang["output"]
