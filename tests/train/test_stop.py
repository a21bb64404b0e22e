"""What a signal leaves behind: no evaluation is lost, none is taken for another's."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import threading

import pytest

from jaxcnn.evaluation.exact import Evaluator, Tally
from jaxcnn.train import fit
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.folder import FolderInUse, FolderLock
from jaxcnn.train.log import read_metrics
from jaxcnn.train.stop import StopRequest


@pytest.fixture(scope="module")
def config(tiny_config):
    """Evaluations after 6 and 12 steps, of four batches each; every checkpoint is kept."""
    return dataclasses.replace(tiny_config, num_devices=1, eval_batch_size=100, keep_checkpoints=9)


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    """The result and the folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    return fit(config, folder), folder


@pytest.fixture
def cut(config, tmp_path, monkeypatch):
    """A run that SIGTERM reaches within its evaluation of that number, from 0."""

    def run(evaluation):
        begun, evaluate, add = [], Evaluator.run, Tally.add

        def count(self, *args, **kwargs):
            begun.append(True)
            return evaluate(self, *args, **kwargs)

        def stop(self, outputs):
            add(self, outputs)
            if len(begun) == evaluation + 1:
                signal.raise_signal(signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(Evaluator, "run", count)
            patch.setattr(Tally, "add", stop)
            return fit(config, tmp_path / "cut")

    return run


def evaluations(workdir):
    return [row for row in read_metrics(workdir / "metrics.jsonl") if row["kind"] == "eval"]


def scores(workdir):
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    try:
        return {step: checkpoints._position(step)["score"] for step in checkpoints.steps()}
    finally:
        checkpoints.close()


@pytest.mark.parametrize("evaluation", [0, 1])
def test_an_evaluation_that_a_signal_cut_off_is_no_result_and_is_made_up_for(
    straight, cut, config, tmp_path, evaluation
):
    result, folder = straight
    stopped = cut(evaluation)
    assert (stopped.status, stopped.step) == ("interrupted", 6 * (evaluation + 1))
    assert stopped.evaluation is None
    assert None in scores(tmp_path / "cut").values()
    resumed = fit(config, tmp_path / "cut")
    assert resumed.status == "finished"
    assert resumed.evaluation.correct == result.evaluation.correct
    assert evaluations(tmp_path / "cut") == evaluations(folder)
    wanted = scores(folder)
    assert scores(tmp_path / "cut") == wanted
    assert {step for step, score in wanted.items() if score is not None} == {6, 12}


def test_a_run_that_is_over_writes_no_evaluation_again(straight, config):
    first, folder = straight
    rows = read_metrics(folder / "metrics.jsonl")
    again = fit(config, folder)
    assert again.evaluation.correct == first.evaluation.correct
    assert read_metrics(folder / "metrics.jsonl") == rows


def test_a_folder_that_another_run_took_ends_even_a_run_that_goes_on(config, tmp_path, monkeypatch):
    def taken(self):
        raise FolderInUse("taken over")

    monkeypatch.setattr(FolderLock, "check", taken)
    config = dataclasses.replace(config, on_save_error="continue")
    with pytest.raises(FolderInUse):
        fit(config, tmp_path)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [2, 4]


def test_other_signals_reach_their_handlers_and_who_listened_before():
    read, write = os.pipe()
    os.set_blocking(write, False)
    seen = []
    plain = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    before = signal.set_wakeup_fd(write)
    threads = set(threading.enumerate())
    try:
        with StopRequest() as stop:
            (listener,) = set(threading.enumerate()) - threads
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGTERM)
            assert stop.poll() and stop.signal == signal.SIGTERM
            assert select.select([read], [], [], 5)[0], "nobody was told"
            assert os.read(read, 9) == bytes([signal.SIGUSR1])
            assert listener.is_alive()
        listener.join(5)
        assert not listener.is_alive() and seen == [signal.SIGUSR1]
        assert signal.set_wakeup_fd(write) == write
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, plain)
        os.close(read)
        os.close(write)
