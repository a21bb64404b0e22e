"""Evaluation in which every example counts exactly once, or there is no result."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import parallel
from jaxcnn.data.augment import normalize
from jaxcnn.evaluation.metrics import Evaluation
from jaxcnn.preprocess import Preprocess


class InterruptedEvaluation(Exception):
    """Someone asked to stop before every example was scored."""


def predict_step(
    model: nn.Module,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    variables: Any,
    batch: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """Per-example scores of `{"image": uint8 [B, H, W, C], "label": int [B]}`; padding included.

    Returns:
      `loss` (cross entropy), `prediction`, `confidence` (its probability) and `rank` (how many
      classes score higher than the label; 0 is a top-1 hit), each `[B]`.
    """
    images = normalize(batch["image"], mean, std)
    logits = jnp.asarray(model.apply(variables, images, train=False), jnp.float32)
    log_probabilities = jax.nn.log_softmax(logits)
    label, classes = batch["label"][:, None], jnp.arange(logits.shape[1])
    own = jnp.take_along_axis(logits, label, axis=1)
    # Of equal scores the lower class goes first, as argmax has it. The label's own column is left
    # out by its number: the compiler may compute a score anew for each use, and then it can
    # differ from itself in the last bit.
    ahead = (classes != label) & ((logits > own) | ((logits == own) & (classes < label)))
    return {
        "loss": -jnp.take_along_axis(log_probabilities, label, axis=1)[:, 0],
        "prediction": jnp.argmax(logits, axis=1).astype(jnp.int32),
        "confidence": jnp.exp(jnp.max(log_probabilities, axis=1)),
        "rank": jnp.sum(ahead, axis=1, dtype=jnp.int32),
    }


@dataclasses.dataclass
class Evaluator:
    """A compiled evaluation of one network, for many sets of variables.

    Attributes:
      model: the network.
      preprocess: mean and std that the device applies.
      class_names: the classes in the order of the logits.
      mapping: the devices.
    """

    model: nn.Module
    preprocess: Preprocess
    class_names: tuple[str, ...]
    mapping: parallel.DeviceMapping

    @functools.cached_property
    def _step(self) -> Callable[..., Any]:
        step = functools.partial(
            predict_step, self.model, self.preprocess.mean, self.preprocess.std
        )
        return self.mapping.map_eval(step)

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
          bad_count: how many examples could not be decoded, asked for at the end.
          should_stop: asked before each batch.

        Raises:
          InterruptedEvaluation: if `should_stop()` became true.
          ValueError: if an example was missing or counted twice.
        """
        columns: dict[str, list[np.ndarray]] = {}
        pending: list[dict[str, Any]] = []
        for batch in batches:
            if should_stop():
                raise InterruptedEvaluation
            rows = {k: batch[k] for k in ("image", "label", "mask", "index")}
            rows["index"] = rows["index"].astype(np.int32)
            placed = self.mapping.put_batch(rows)
            scores = self._step(variables, {k: placed[k] for k in ("image", "label")})
            pending.append(scores | {k: placed[k] for k in ("label", "mask", "index")})
            # Fetching one batch late lets the host decode while the device computes.
            if len(pending) > 1:
                self._collect(pending.pop(0), columns)
        for rest in pending:
            self._collect(rest, columns)
        table = {name: np.concatenate(parts) for name, parts in columns.items()}
        return Evaluation.from_rows(table, num_examples, self.class_names, bad_count())

    def _collect(self, outputs: dict[str, Any], columns: dict[str, list[np.ndarray]]) -> None:
        rows = self.mapping.get_rows(outputs)
        keep = rows.pop("mask")
        for name, values in rows.items():
            columns.setdefault(name, []).append(values[keep])


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
) -> Evaluation:
    """Exact counts of a network on every example of a source.

    Args:
      model: the network.
      variables: its variables.
      source: what `jaxcnn.data.open_source` gives.
      preprocess: how images become inputs; default: `default_preprocess(source)`.
      batch_size: over all devices; rounded up to a multiple of their number.
      mapping: the devices; default: all, under jit.
      threads: threads that decode.
      max_bad: how many undecodable images are left out and reported before it is an error.

    Raises:
      ValueError: if an example was not counted exactly once, or labels lie outside the classes.
    """
    from jaxcnn.data import EvalLoader, check_source, default_preprocess

    mapping = mapping or parallel.make_mapping()
    preprocess = preprocess or default_preprocess(source)
    check_source(source, num_classes=len(source.class_names), batch_size=1)
    loader = EvalLoader(
        source,
        preprocess,
        -(-batch_size // mapping.size) * mapping.size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=threads,
        max_bad=max_bad,
    )
    evaluator = Evaluator(model, preprocess, tuple(source.class_names), mapping)
    placed = mapping.put_state(variables)
    return evaluator.run(placed, loader, len(source), bad_count=lambda: loader.bad_count)
