"""Evaluation in which every example counts exactly once, or there is no result."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import parallel
from jaxcnn.data.augment import normalize
from jaxcnn.evaluation.metrics import Evaluation
from jaxcnn.evaluation.views import NUM_VIEWS, Views, loaded_preprocess, make_views
from jaxcnn.preprocess import Preprocess


class InterruptedEvaluation(Exception):
    """Someone asked to stop before every example was scored."""


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How logits become scores.

    Attributes:
      preprocess: the network's size, mean and std.
      views: whose probabilities are averaged.
      logit_index: which logit each class of the data is, where the data has fewer classes than
        the network, or in another order; None takes them as they are.
      scores: how many of the highest probabilities to keep for each example; -1 keeps all.
    """

    preprocess: Preprocess
    views: Views = "none"
    logit_index: tuple[int, ...] | None = None
    scores: int = 0


def predict_step(
    model: nn.Module,
    scoring: Scoring,
    variables: Any,
    batch: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """Per-example scores of `{"image": uint8 [B, H, W, C], "label": int [B]}`; padding included.

    Where several classes are right, `batch["targets"]`, int `[B, K]` filled up with -1, lists
    them: the best of them counts, and the loss is of their summed probability.

    Returns:
      `loss` (cross entropy), `prediction`, `confidence` (its probability) and `rank` (how many
      classes score higher than the label; 0 is a top-1 hit), each `[B]`; and if asked for
      `scores` (probabilities) with `score_classes`, `[B, k]`.
    """
    logits = _log_scores(model, scoring, variables, batch["image"])
    log_probabilities = jax.nn.log_softmax(logits)
    targets = batch.get("targets", batch["label"][:, None])
    valid, target = targets >= 0, jnp.maximum(targets, 0)
    own = jnp.take_along_axis(logits, target, axis=1)[:, :, None]
    classes = jnp.arange(logits.shape[1])
    # Of equal scores the lower class goes first, as argmax has it. The label's own column is left
    # out by its number: the compiler may compute a score anew for each use, and then it can
    # differ from itself in the last bit.
    other, number = logits[:, None, :], target[:, :, None]
    ahead = (classes != number) & ((other > own) | ((other == own) & (classes < number)))
    rank = jnp.where(valid, jnp.sum(ahead, axis=2, dtype=jnp.int32), logits.shape[1])
    log_right = jnp.take_along_axis(log_probabilities, target, axis=1)
    result = {
        "loss": -jax.nn.logsumexp(jnp.where(valid, log_right, -jnp.inf), axis=1),
        "prediction": jnp.argmax(logits, axis=1).astype(jnp.int32),
        "confidence": jnp.exp(jnp.max(log_probabilities, axis=1)),
        "rank": jnp.min(rank, axis=1),
    }
    if scoring.scores < 0:
        result["scores"] = jnp.exp(log_probabilities)
    elif scoring.scores:
        best = jax.lax.top_k(log_probabilities, min(scoring.scores, logits.shape[1]))
        result["scores"], result["score_classes"] = jnp.exp(best[0]), best[1]
    return result


def _log_scores(model: nn.Module, scoring: Scoring, variables: Any, images: jax.Array) -> jax.Array:
    """The logits, or of several views the logarithm of their mean probability; `[B, classes]`."""
    chosen = scoring.logit_index

    def apply(pixels: jax.Array) -> jax.Array:
        inputs = normalize(pixels, scoring.preprocess.mean, scoring.preprocess.std)
        logits = jnp.asarray(model.apply(variables, inputs, train=False), jnp.float32)
        return logits if chosen is None else logits[:, np.asarray(chosen)]

    views = make_views(images, scoring.views, scoring.preprocess.image_size)
    number, batch = views.shape[:2]
    if number == 1:
        return apply(views[0])
    # An image's views stay side by side, so that a batch that is split over devices stays split.
    flat = jnp.swapaxes(views, 0, 1).reshape(-1, *views.shape[2:])
    each = jax.nn.log_softmax(apply(flat)).reshape(batch, number, -1)
    return jax.nn.logsumexp(each, axis=1) - jnp.log(number)


class Tally:
    """Collects the scores of one pass over a split, one batch late.

    Fetching late lets the host decode while the device computes.
    """

    def __init__(self, mapping: parallel.DeviceMapping) -> None:
        self._mapping = mapping
        self._columns: dict[str, list[np.ndarray]] = {}
        self._pending: list[dict[str, Any]] = []

    def add(self, outputs: dict[str, Any]) -> None:
        """Takes a step's outputs with the batch's `label`, `mask` and `index`."""
        self._pending.append(outputs)
        if len(self._pending) > 1:
            self._collect(self._pending.pop(0))

    def rows(self) -> dict[str, np.ndarray]:
        """All rows so far, without the padding."""
        while self._pending:
            self._collect(self._pending.pop(0))
        return {name: np.concatenate(parts) for name, parts in self._columns.items()}

    def _collect(self, outputs: dict[str, Any]) -> None:
        rows = self._mapping.get_rows(outputs)
        keep = rows.pop("mask")
        for name, values in rows.items():
            self._columns.setdefault(name, []).append(values[keep])


@dataclasses.dataclass
class Evaluator:
    """A compiled evaluation of one network, for many sets of variables.

    Attributes:
      model: the network.
      scoring: from pixels to scores.
      class_names: the classes of the data.
      mapping: the devices.
    """

    model: nn.Module
    scoring: Scoring
    class_names: tuple[str, ...]
    mapping: parallel.DeviceMapping

    @functools.cached_property
    def _step(self) -> Callable[..., Any]:
        return self.mapping.map_eval(functools.partial(predict_step, self.model, self.scoring))

    def score(self, variables: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A host batch's scores, still on the devices, with its `label`, `mask` and `index`."""
        names = ("image", "label", "mask", "index", "targets")
        rows = {name: batch[name] for name in names if name in batch}
        rows["index"] = rows["index"].astype(np.int32)
        placed = self.mapping.put_batch(rows)
        inputs = {k: v for k, v in placed.items() if k not in ("mask", "index")}
        scores = self._step(variables, inputs)
        return scores | {k: placed[k] for k in ("label", "mask", "index")}

    def run(
        self,
        variables: Any,
        batches: Iterable[Mapping[str, Any]],
        num_examples: int,
        *,
        bad_count: Callable[[], int] = lambda: 0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Evaluation:
        """Scores `batches`, which together hold each of `num_examples` examples once.

        Args:
          variables: the network's variables, as the mapping's `put_state` leaves them.
          batches: host batches of this process, padded and masked.
          num_examples: size of the split over all processes.
          bad_count: how many examples this process could not decode, asked for at the end.
          should_stop: asked before each batch.

        Raises:
          InterruptedEvaluation: if `should_stop()` became true.
          ValueError: if an example was missing or counted twice.
        """
        tally = Tally(self.mapping)
        for batch in batches:
            if should_stop():
                raise InterruptedEvaluation
            tally.add(self.score(variables, batch))
        return self.result(tally, num_examples, bad_count())

    def result(self, tally: Tally, num_examples: int, bad: int) -> Evaluation:
        """The checked counts of a whole pass; `bad` is of this process."""
        bad = parallel.sum_over_processes(bad)
        return Evaluation.from_rows(tally.rows(), num_examples, self.class_names, bad)


def evaluate(
    model: nn.Module,
    variables: Any,
    source: Any,
    *,
    preprocess: Preprocess | None = None,
    batch_size: int = 256,
    mapping: parallel.DeviceMapping | None = None,
    threads: int = 8,
    max_bad: int = 0,
    views: Views = "none",
    scores: int = 0,
) -> Evaluation:
    """Exact counts of a network on every example of a source.

    Args:
      model: the network.
      variables: its variables.
      source: what `jaxcnn.data.open_source` or `open_eval_source` gives.
      preprocess: how images become inputs; default: `default_preprocess(source)`.
      batch_size: what the network sees at once over all devices, each view counted; rounded up
        to a multiple of the devices.
      mapping: the devices; default: all, under jit.
      threads: threads that decode.
      max_bad: how many undecodable images are left out and reported before it is an error.
      views: test-time augmentation: `none`, `flip` or `ten_crop` (see `make_views`).
      scores: how many of the highest probabilities to keep for each example; -1 keeps all.

    Raises:
      ValueError: if an example was not counted exactly once, labels lie outside the classes, or
        the network has another number of classes than the source.
      FloatingPointError: if an example's scores are not finite.
    """
    from jaxcnn.data import default_preprocess

    preprocess = preprocess or default_preprocess(source)
    setup = EvaluationSetup.prepare(
        model,
        variables,
        source,
        preprocess,
        batch_size=batch_size,
        mapping=mapping or parallel.make_mapping(),
        threads=threads,
        max_bad=max_bad,
        views=views,
        scores=scores,
    )
    return setup.run()


@dataclasses.dataclass
class EvaluationSetup:
    """A network and a source that fit each other, ready to be scored.

    Attributes:
      evaluator: the compiled step.
      variables: on the devices.
      loader: the batches of this process.
      source: the examples.
    """

    evaluator: Evaluator
    variables: Any
    loader: Any
    source: Any

    @classmethod
    def prepare(
        cls,
        model: nn.Module,
        variables: Any,
        source: Any,
        preprocess: Preprocess,
        *,
        batch_size: int,
        mapping: parallel.DeviceMapping,
        threads: int = 8,
        max_bad: int = 0,
        views: Views = "none",
        scores: int = 0,
    ) -> EvaluationSetup:
        """Checks that the parts fit, before any image is decoded. Arguments as `evaluate`."""
        from jaxcnn.data import EvalLoader, check_source

        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1.")
        check_source(source, num_classes=len(source.class_names), batch_size=1)
        chosen = getattr(source, "logit_index", None)
        scoring = Scoring(preprocess, views, chosen, scores)
        loaded = loaded_preprocess(preprocess, views)
        check_classes(model, variables, preprocess, source)
        loader = EvalLoader(
            source,
            loaded,
            _rows(batch_size, len(source), views, mapping),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=threads,
            max_bad=max_bad,
        )
        evaluator = Evaluator(model, scoring, tuple(source.class_names), mapping)
        return cls(evaluator, mapping.put_state(variables), loader, source)

    def batches(self) -> Iterator[dict[str, Any]]:
        """The loader's batches, with the right classes where an example has several."""
        targets = getattr(self.source, "targets", None)
        for batch in self.loader:
            yield batch if targets is None else batch | {"targets": targets[batch["index"]]}

    def run(self, progress: Callable[[int], None] = lambda count: None) -> Evaluation:
        """One pass over all examples; `progress` hears how many this process has handed over."""

        def told() -> Iterator[dict[str, Any]]:
            done = 0
            for batch in self.batches():
                yield batch
                done += len(batch["index"]) * jax.process_count()
                progress(min(done, len(self.source)))

        result = self.evaluator.run(
            self.variables,
            told(),
            len(self.source),
            bad_count=lambda: self.loader.bad_count,
        )
        result.check_finite()
        return result


def _rows(batch_size: int, examples: int, views: Views, mapping: parallel.DeviceMapping) -> int:
    """Examples in a batch: not many more than there are, and divided by the devices."""
    wanted = min(-(-batch_size // NUM_VIEWS[views]), examples)
    return -(-wanted // mapping.size) * mapping.size


def check_classes(model: nn.Module, variables: Any, preprocess: Preprocess, source: Any) -> None:
    """Raises ValueError if the network's logits are not the source's classes; computes nothing."""
    shape = (1, *preprocess.image_size, preprocess.channels)
    apply = functools.partial(model.apply, train=False)
    logits = jax.eval_shape(apply, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
    chosen = getattr(source, "logit_index", None)
    found, wanted = logits.shape[-1], len(source.class_names)
    if chosen is None and found != wanted:
        raise ValueError(
            f"{source.name!r} has {wanted} classes and the network scores {found}; evaluate it "
            "on data with its own classes."
        )
    if chosen is not None and max(chosen) >= found:
        raise ValueError(
            f"{source.name!r} needs the scores of {max(chosen) + 1} classes and the network has "
            f"{found}; evaluate a network of the whole set."
        )
