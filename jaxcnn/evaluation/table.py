"""One network after the other on the same data, for a table in which a failed one stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxcnn import parallel
from jaxcnn.data import match_classes
from jaxcnn.data.source import Source
from jaxcnn.evaluation import timing
from jaxcnn.evaluation.exact import EvaluationSetup
from jaxcnn.evaluation.predictions import scores_wanted
from jaxcnn.evaluation.record import make_record
from jaxcnn.evaluation.report import Entry
from jaxcnn.evaluation.views import Views
from jaxcnn.preprocess import Preprocess


@dataclasses.dataclass(frozen=True)
class Options:
    """How networks are evaluated.

    Attributes:
      batch_size: over all devices; rounded up to a multiple of their number.
      views: test-time augmentation.
      scores: how many of the highest probabilities to keep; -1 keeps all; None as many as a file
        of predictions holds by default.
      threads: that decode.
      max_bad: how many undecodable images are left out before it is an error.
      timed: whether latency and throughput are measured too.
      preprocess: fields of the network's preprocessing to change.
    """

    batch_size: int = 256
    views: Views = "none"
    scores: int | None = 0
    threads: int = 8
    max_bad: int = 0
    timed: bool = False
    preprocess: dict[str, Any] = dataclasses.field(default_factory=dict)


def knows_classes(network: Any) -> bool:
    """Whether what `jaxcnn.load_network` gave has names of its classes, not only their numbers."""
    # A run knows its classes even where they are called "0", "1", ...
    return network.config is not None or any(
        name != str(i) for i, name in enumerate(network.class_names)
    )


def prepare_network(
    network: Any,
    source: Source,
    options: Options,
    *,
    mapping: parallel.DeviceMapping | None = None,
) -> tuple[EvaluationSetup, Preprocess]:
    """What `jaxcnn.load_network` gave, ready to be scored on a source.

    The network's own class names are matched with the data's (`match_classes`); bare weights
    don't know theirs.

    Raises:
      ValueError: classes that do not match, an empty split, and what else cannot work.
    """
    source = match_classes(source, network.class_names, known=knows_classes(network))
    preprocess = dataclasses.replace(network.preprocess, **options.preprocess)
    kept = scores_wanted(len(source.class_names)) if options.scores is None else options.scores
    setup = EvaluationSetup.prepare(
        network.model,
        network.variables,
        source,
        preprocess,
        batch_size=options.batch_size,
        mapping=mapping or parallel.make_mapping(),
        threads=options.threads,
        max_bad=options.max_bad,
        views=options.views,
        scores=kept,
    )
    return setup, preprocess


def evaluate_network(
    network: Any,
    source: Source,
    options: Options,
    *,
    mapping: parallel.DeviceMapping | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Entry:
    """Evaluates what `jaxcnn.load_network` gave on a source, with the record of it.

    Raises:
      ValueError, FloatingPointError: as `prepare_network` and `jaxcnn.evaluate`.
    """
    setup, preprocess = prepare_network(network, source, options, mapping=mapping)
    result = setup.run(progress)
    record = make_record(
        result,
        setup.source,
        model=network.name,
        variables=network.variables,
        preprocess=preprocess,
        views=options.views,
        network=network.source,
        step=network.step,
        sha256=network.sha256,
    )
    if options.timed:
        record["timing"] = timing.measure(setup)
    return Entry(record, result, setup.source)
