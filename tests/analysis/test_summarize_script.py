"""scripts/summarize.py as a user calls it."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "summarize.py"


def call(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )


def test_file_suffix_chooses_the_format(tmp_path):
    path = tmp_path / "net.json"
    done = call("lenet5", "-o", str(path), "--batch-size", "2")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {path}\n", "")
    record = json.loads(path.read_text())
    assert record["total_params"] == 61_706
    assert record["input_shape"] == [2, 32, 32, 1]


def test_networks_are_compared_side_by_side():
    done = call("--compare", "lenet5", "mlp", "--format", "csv")
    assert done.returncode == 0
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["model", "lenet5", "mlp"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lenet6"], "did you mean 'lenet5'"),
        (["lenet5", "--image-sise", "28"], "did you mean --image-size?"),
        (["lenet5", "--image-size", "4"], "at least"),
        ([], "Give either one MODEL or --compare"),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(arguments, words):
    done = call(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
