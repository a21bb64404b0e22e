"""A run in a bucket, in a process that knows only of the stand-in: program.py ACTION FOLDER."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import sys

import numpy as np

from jaxcnn import buckets
from jaxcnn.data import open_source
from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, fit, load_network, steps
from jaxcnn.train.folder import FolderInUse
from jaxcnn.train.verify import digest

URL = "gs://bucket/runs/one"


def config() -> TrainConfig:
    return TrainConfig(
        model="mlp",
        data=DataConfig(data_dir="gs://bucket/tfds"),
        optimizer=OptimizerConfig(learning_rate=0.05, schedule="constant"),
        batch_size=64,
        length=steps(12),
        eval_every=steps(6),
        checkpoint_every=steps(4),
        log_every=steps(2),
        figures=False,
    )


def killed() -> None:
    def on_batch(step: int, _: object) -> None:
        if step == 11:
            os.kill(os.getpid(), signal.SIGKILL)

    fit(config(), URL, on_batch=on_batch)


def taken_over() -> str:
    """What a run says in whose folder another one was begun."""

    def on_batch(step: int, _: object) -> None:
        if step == 5:
            (buckets.folder("gs://bucket/runs/two") / ".owner").write_text(
                "process 7 on x since y z"
            )

    try:
        fit(config(), "gs://bucket/runs/two", on_batch=on_batch)
    except FolderInUse as error:
        return str(error)
    return "nothing"


def resumed(folder: pathlib.Path) -> dict:
    local = dataclasses.replace(config(), data=DataConfig())
    # Read from the bucket and from this machine, the examples are the same ones.
    ours, theirs = (
        open_source("digits", "train", data_dir=d.data.data_dir) for d in (local, config())
    )
    assert theirs.fingerprint == ours.fingerprint and len(theirs) == len(ours) == 1433
    for i in (0, 700, 1432):
        assert theirs[i].image == ours[i].image and theirs[i].label == ours[i].label
    assert np.array_equal(theirs.labels(), ours.labels())
    straight, again = fit(local, folder / "straight"), fit(config(), URL)
    found = {"straight": digest(straight.state), "resumed": digest(again.state)}
    steps_of = [p.name for p in (buckets.folder(URL) / "checkpoints").iterdir()]
    array = max(
        (p for p in (buckets.folder(URL) / "checkpoints/12/state/d").iterdir()),
        key=lambda p: p.stat().length,
    )
    content = array.read_bytes()
    array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        load_network(URL)
    except ValueError as error:
        found["damaged"] = str(error)
    found["step after damage"] = int(fit(config(), URL).state.step)
    network = load_network(URL)
    return found | {
        "steps": sorted(steps_of),
        "network": network.step,
        "rows": (buckets.folder(URL) / "metrics.jsonl").read_text().count('"train"'),
        "taken over": taken_over(),
    }


if __name__ == "__main__":
    if sys.argv[1] == "killed":
        killed()
    else:
        print("RESULT", json.dumps(resumed(pathlib.Path(sys.argv[2]))))
