"""The trace of a run, and what the run says that it waited for."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from jaxcnn.train import fit
from jaxcnn.train.meter import Meter


def test_a_trace_holds_the_steps_that_were_asked_for(tiny_config, tmp_path, capsys):
    fit(tiny_config, tmp_path, profile_steps=2)
    assert "-bound: the host waited" in capsys.readouterr().out
    (perfetto,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    assert len(events) > 50
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    with pytest.raises(ValueError, match="profile_steps=-1"):
        fit(tiny_config, tmp_path, profile_steps=-1)


def test_waiting_for_batches_is_input_bound_and_waiting_for_devices_is_compute_bound():
    meter = Meter(None)

    def slow():
        time.sleep(0.02)
        yield 1

    assert meter.next_batch(slow()) == 1
    assert meter.verdict().startswith("input-bound: the host waited 0.0 s for batches")
    meter.device_seconds = 1.5
    assert (
        meter.verdict().startswith("compute-bound") and "1.5 s for the devices" in meter.verdict()
    )
