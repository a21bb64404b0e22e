"""Runs and datasets in a bucket, against a stand-in for Google Cloud Storage on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from jaxcnn import buckets
from jaxcnn.data import DataError, open_source
from jaxcnn.data.prepared import find_prepared

HERE = pathlib.Path(__file__).resolve().parent


def _server():
    spec = importlib.util.spec_from_file_location("bucket_server", HERE / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Server()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    pytest.importorskip("gcsfs")
    open_source("digits", "train")
    prepared = find_prepared("digits").path
    server, folder = _server(), tmp_path_factory.mktemp("bucket")
    try:
        for file in prepared.iterdir():
            server.put(f"bucket/tfds/digits/{prepared.name}/{file.name}", file.read_bytes())
        environ = os.environ | server.environ
        command = [sys.executable, str(HERE / "program.py")]
        first = subprocess.run(
            [*command, "killed", str(folder)], capture_output=True, text=True, env=environ
        )
        assert first.returncode == -signal.SIGKILL, first.stdout + first.stderr
        done = subprocess.run(
            [*command, "resumed", str(folder)], capture_output=True, text=True, env=environ
        )
        assert "RESULT" in done.stdout, done.stdout + done.stderr
        said, _, line = done.stdout.rpartition("RESULT ")
        return json.loads(line) | {"said": said, "errors": done.stderr}
    finally:
        server.close()


@pytest.mark.slow
def test_a_run_killed_in_a_bucket_goes_on_to_the_same_bytes(results):
    assert re.search(r"resuming at step [468] of 12", results["said"])
    assert results["resumed"] == results["straight"]
    assert results["steps"][0] == "12" and results["rows"] == 6 and results["network"] == 12


@pytest.mark.slow
def test_a_flipped_byte_in_a_bucket_is_found_and_the_step_before_it_used(results):
    assert "state/d/" in results["damaged"] and results["step after damage"] == 12
    assert results["said"].count("resuming at step") == 2
    assert "Checkpoint of step 12 is damaged, falling back" in results["errors"]


@pytest.mark.slow
def test_a_run_whose_folder_another_one_took_stops_with_its_name(results):
    assert "runs/two was taken over by process 7 on x since y" in results["taken over"]


@pytest.mark.parametrize(
    ("url", "message"),
    [("s3://b/x", "only gs://"), ("gs://", "no bucket"), ("gs:///", "no bucket")],
)
def test_other_places_are_refused_with_the_remedy(url, message):
    with pytest.raises(ValueError, match=message):
        buckets.folder(url)
    with pytest.raises(DataError, match=message):
        open_source("digits", "train", data_dir=url)
