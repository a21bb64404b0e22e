"""Runs that are killed again and again end with the bytes of one that was left alone."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

KILLS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


@pytest.mark.slow
def test_fifty_kills_change_nothing():
    done = subprocess.run(
        [sys.executable, str(KILLS), "--kills", "50"], capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert result["kills"] == 50 and result["failures"] == []
    # Each kind of kill did happen: a process that outlives its point is an error there.
    assert len(result["kinds"]) == 6 and min(result["kinds"].values()) >= 2, result["kinds"]
