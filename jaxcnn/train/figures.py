"""The pictures at the end of a run."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.data import Source, prepare_image
from jaxcnn.evaluation import Evaluation
from jaxcnn.evaluation.table import knows_classes
from jaxcnn.train.load import Network
from jaxcnn.train.log import read_metrics
from jaxcnn.train.run import saved_config
from jaxcnn.train.setup import Setup
from jaxcnn.visualize import Subject, draw_confusion, draw_curves, draw_mistakes

_MISTAKES = 24


def read_curves(workdirs: Sequence[str | pathlib.Path]) -> dict[str, tuple[list[Any], int]]:
    """The rows of several runs' metrics and their batch sizes by folder, for `draw_runs`.

    Raises:
      FileNotFoundError: one of them is no run's folder.
    """
    paths = [pathlib.Path(workdir).resolve() for workdir in workdirs]
    clear = len({path.name for path in paths}) == len(paths)
    return {
        path.name if clear else str(path): (
            read_metrics(path / "metrics.jsonl"),
            saved_config(path)[0].batch_size,
        )
        for path in paths
    }


def with_names_of(network: Network, source: Source) -> tuple[Network, bool]:
    """The network with its classes' names, and whether it knows all labels of a dataset.

    Bare weights, which do not know their classes' names, take the dataset's where the numbers
    agree; every other network keeps its own.
    """
    if knows_classes(network):
        return network, set(source.class_names) <= set(network.class_names)
    if len(source.class_names) != len(network.class_names):
        return network, False
    return dataclasses.replace(network, class_names=tuple(source.class_names)), True


def make_subject(network: Network, source: Source, count: int, **fields: Any) -> Subject:
    """A network and the first photos of a dataset, for `draw_pictures`.

    The classes' names are those of `with_names_of`; the truths are shown where the network knows
    all of them.

    Raises:
      ValueError: a count that the dataset does not have; a photo that the network cannot take.
    """
    if not 1 <= count <= len(source):
        raise ValueError(f"{count} photos: {source.name!r} has 1 to {len(source)} of them.")
    examples = [source[i] for i in range(count)]
    network, known = with_names_of(network, source)
    return Subject(
        name=network.name,
        model=network.model,
        variables=network.variables,
        preprocess=network.preprocess,
        class_names=network.class_names,
        photos=np.stack([prepare_image(e.image, network.preprocess) for e in examples]),
        truths=[source.class_names[e.label] for e in examples] if known else (),
        **fields,
    )


def draw(workdir: pathlib.Path, setup: Setup, evaluation: Evaluation) -> list[pathlib.Path]:
    """Writes curves, confusion matrix and mistakes into `workdir/figures`; returns the files."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    title = f"{setup.config.model} on {setup.config.data.dataset}"
    steps_per_epoch = len(setup.source) / setup.config.batch_size
    paths = [folder / name for name in ("curves.png", "confusion.png", "mistakes.png")]
    rows = read_metrics(workdir / "metrics.jsonl")
    draw_curves(rows, paths[0], title=title, steps_per_epoch=steps_per_epoch)
    draw_confusion(evaluation.confusion, evaluation.class_names, paths[1], title=title)
    wrong = evaluation.confident_mistakes(_MISTAKES)
    draw_mistakes(
        [
            prepare_image(setup.eval_source[int(i)].image, setup.preprocess)
            for i in evaluation.index[wrong]
        ],
        labels=[evaluation.class_names[i] for i in evaluation.label[wrong]],
        predictions=[evaluation.class_names[i] for i in evaluation.prediction[wrong]],
        confidences=evaluation.confidence[wrong].tolist(),
        total=evaluation.count - evaluation.correct,
        path=paths[2],
        title=title,
    )
    return paths
