"""What a run writes of itself, and what writing may cost."""

from __future__ import annotations

import os

from jaxcnn.train.log import RunLog, read_metrics

VALUES = {"loss": 1.0, "accuracy": 0.5, "images_per_second": 10.0}


def test_lines_wait_for_the_disk_once_in_ten_seconds_and_are_all_there(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(os, "fsync", waits.append)
    run_log = RunLog(tmp_path, start_step=0, total_steps=50)
    for step in range(1, 51):
        run_log.train(step, VALUES)
        assert len(read_metrics(tmp_path / "metrics.jsonl")) == step
    assert len(waits) == 1
    run_log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert events.read_bytes().count(b"train/loss") == 50


def test_an_evaluation_is_in_tensorboards_file_at_once(tmp_path):
    run_log = RunLog(tmp_path, start_step=0, total_steps=2)
    run_log.train(1, VALUES)
    run_log.train(2, VALUES)
    run_log.evaluation(2, {"top1": 50.0, "correct": 1, "count": 2, "loss": 1.0}, 2)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert events.read_bytes().count(b"train/loss") == 2
    assert events.read_bytes().count(b"eval/top1") == 1
    run_log.close()
