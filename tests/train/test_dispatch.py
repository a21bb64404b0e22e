"""Many steps as one program train as single steps do, and stop where something is due."""

from __future__ import annotations

import dataclasses
import signal

import jax
import numpy as np
import pytest

from jaxcnn.train import fit
from jaxcnn.train.dispatch import Dispatcher
from jaxcnn.train.duration import steps
from jaxcnn.train.feed import resident_batches
from jaxcnn.train.log import read_metrics
from jaxcnn.train.meter import Meter, NonFiniteLoss
from jaxcnn.train.setup import prepare


@pytest.fixture
def config(tiny_config):
    """Twelve steps with something due after six and after twelve."""
    six = steps(6)
    return dataclasses.replace(
        tiny_config, log_every=six, eval_every=six, checkpoint_every=six, num_devices=1
    )


def run(config, workdir, size):
    result = fit(dataclasses.replace(config, steps_per_dispatch=size), workdir)
    rows = read_metrics(workdir / "metrics.jsonl")
    return result, [{k: v for k, v in row.items() if "images_per" not in k} for row in rows]


def arrays(state):
    return [np.asarray(x) for x in jax.tree.leaves((state.params, state.batch_stats))]


def test_blocks_begin_at_multiples_and_hold_nothing_that_is_due(config):
    config = dataclasses.replace(config, steps_per_dispatch=4, log_every=steps(50))
    setup = prepare(dataclasses.replace(config, length=steps(27), eval_every=steps(10)))
    dispatcher = Dispatcher(setup, iter(()), Meter(setup))
    # Checkpoints are due after 6, 12, 18 and 24, evaluations after 10 and 20, and 27 is the end.
    blocks = [step for step in range(27) if dispatcher.count(step) == 4]
    assert blocks == [0, 12, 20]
    assert Dispatcher(setup, iter(()), Meter(setup), lambda step, batch: None).count(0) == 1


@pytest.mark.parametrize(
    ("mapping", "devices", "size"),
    [("jit", 1, 3), ("jit", 8, 4), pytest.param("fsdp", 8, 6, marks=pytest.mark.slow)],
)
def test_many_steps_in_one_program_train_as_single_ones(config, tmp_path, mapping, devices, size):
    config = dataclasses.replace(config, mapping=mapping, num_devices=devices)
    single, expected = run(config, tmp_path / "single", 1)
    many, rows = run(config, tmp_path / "many", size)
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    checkpoints = [tmp_path / name / "checkpoints" for name in ("single", "many")]
    assert len({tuple(sorted(p.name for p in c.iterdir())) for c in checkpoints}) == 1
    tolerance = 0 if devices == 1 else 1e-5  # without convolutions it is the same arithmetic
    for row, wanted in zip(rows, expected, strict=True):
        for name in wanted.keys() - {"kind"}:
            np.testing.assert_allclose(row[name], wanted[name], rtol=tolerance, err_msg=name)
    for x, y in zip(arrays(many.state), arrays(single.state), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_a_block_with_batchnorm_gives_the_losses_of_single_steps(config):
    setup = prepare(dataclasses.replace(config, model="small_cnn"))

    def begin():
        feed = resident_batches(
            setup.source, setup.preprocess, setup.order, setup.mapping, start_step=0, threads=1
        )
        return feed, setup.mapping.put_state(setup.initial_state())

    feed, state = begin()
    losses, step = [], setup.compile_step()
    for _ in range(4):
        state, metrics = step(state, next(feed))
        losses.append(float(metrics["loss"]))
    feed, state = begin()
    state, metrics = setup.compile_steps()(state, feed.table, feed.rows(4))
    # Later on a ReLU near zero may fall the other way, and the runs part.
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-5)
    assert int(state.step) == 4


def test_an_interrupted_run_of_blocks_ends_with_the_same_bytes(config, tmp_path, monkeypatch):
    whole, _ = run(config, tmp_path / "whole", 3)
    add = Meter.add

    def stop_after_three(self, step, metrics):
        add(self, step, metrics)
        if step == 3:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "add", stop_after_three)
        cut, _ = run(config, tmp_path / "cut", 3)
    assert (cut.status, cut.step) == ("interrupted", 3)
    resumed, _ = run(config, tmp_path / "cut", 3)
    assert resumed.status == "finished"
    for x, y in zip(arrays(resumed.state), arrays(whole.state), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_step_that_is_not_finite_is_named_within_its_block(config, tmp_path):
    wild = dataclasses.replace(config.optimizer, learning_rate=1e30)
    config = dataclasses.replace(config, optimizer=wild)
    with pytest.raises(NonFiniteLoss, match=r"Step [2-6]: loss"):
        run(config, tmp_path, 6)


def test_what_cannot_be_dispatched_together_is_refused(config):
    with pytest.raises(ValueError, match="steps_per_dispatch=2 has no form under pmap"):
        prepare(dataclasses.replace(config, steps_per_dispatch=2, mapping="pmap"))
    streamed = dataclasses.replace(config.data, resident_mb=0)
    with pytest.raises(ValueError, match=r"needs data that are held on the device.*resident_mb"):
        prepare(dataclasses.replace(config, steps_per_dispatch=2, data=streamed))
    with pytest.raises(ValueError, match=r"is more than log_every, 6 steps.*at most 6"):
        prepare(dataclasses.replace(config, steps_per_dispatch=7))
    with pytest.raises(ValueError, match="steps_per_dispatch=0 must be at least 1"):
        dataclasses.replace(config, steps_per_dispatch=0)
