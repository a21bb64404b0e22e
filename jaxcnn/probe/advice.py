"""What to train, judged by probes: how much data, and how similar to what the network knows.

The two-by-two table of every course on transfer learning (Yosinski et al. 2014, "How transferable
are features in deep neural networks?", for the reason). How similar is measured: by how many of
the mistakes that a linear classifier makes on the untrained network's features it no longer makes
on the trained one's.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.data import Source, Subset, read_labels, sample
from jaxcnn.preprocess import Preprocess
from jaxcnn.probe.classifier import FOLDS, cross_validate
from jaxcnn.probe.features import LAST, compute_features
from jaxcnn.transfer import HEAD, TransferConfig, stages_of

# Rules of thumb; docs/transfer.md shows where they come from and how far they carry.
ENOUGH_EXAMPLES, ENOUGH_PER_CLASS = 1000, 50
SIMILAR_GAIN = 0.5
GRID = (1e-3, 1e-2, 1e-1, 1.0)


@dataclasses.dataclass(frozen=True)
class Depth:
    """How well a linear classifier does on one tap's pooled features.

    Attributes:
      tap: its name; `last` is what the head reads.
      channels: length of a feature vector.
      accuracy: cross-validated on the training split, in [0, 1].
      spread: standard deviation of it over the folds.
      random: the accuracy on the same network's features before any training.
    """

    tap: str
    channels: int
    accuracy: float
    spread: float
    random: float


@dataclasses.dataclass(frozen=True)
class Advice:
    """A regime and why.

    Attributes:
      num_examples: of the training split.
      fewest: examples of its smallest class.
      depths: from the images to the head.
      chance: share of the largest class.
      gain: share of the mistakes on the best untrained features that the best trained ones avoid.
      similar: whether `gain` is at least a half.
      enough: whether there are 1,000 examples and 50 of each class.
      transfer: what to set.
      reason: in a sentence.
    """

    num_examples: int
    fewest: int
    depths: tuple[Depth, ...]
    chance: float
    gain: float
    similar: bool
    enough: bool
    transfer: TransferConfig
    reason: str

    @property
    def best(self) -> Depth:
        """The depth with the highest accuracy, the later of equals."""
        return max(reversed(self.depths), key=lambda depth: depth.accuracy)

    def lines(self) -> tuple[str, ...]:
        """The advice for a terminal."""
        data = "enough" if self.enough else "little"
        return (
            f"{self.num_examples:,} examples, {self.fewest:,} of the smallest class: {data} data "
            f"(enough is {ENOUGH_EXAMPLES:,}, and {ENOUGH_PER_CLASS} of each class).",
            f"Best features: {self.best.tap}, {self.best.accuracy:.1%} (the largest class alone: "
            f"{self.chance:.1%}). They avoid {self.gain:.0%} of the mistakes that untrained "
            f"features make: {'similar' if self.similar else 'not similar'} to what the network "
            f"knows (similar from {SIMILAR_GAIN:.0%}).",
            f"Advice: {self.reason}",
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return dataclasses.asdict(self) | {"best": self.best.tap}


def advise(
    model: nn.Module,
    variables: Any,
    source: Source,
    preprocess: Preprocess,
    *,
    weights: str,
    checkpoint: str = "last",
    most: int = 1000,
    seed: int = 0,
    batch_size: int = 256,
) -> Advice:
    """Probes a network at every tap on a training split, and recommends a regime.

    Args:
      model: the network.
      variables: its trained variables.
      source: the training split; nothing else is looked at.
      preprocess: how an image becomes an input.
      weights: where the variables come from, for the recommended setting.
      checkpoint: of a run, likewise.
      most: examples that are probed; a larger split is sampled, with 5 examples of each class
        where it has them and they are not too many. A class's only example is left out.
      seed: of the sample, the folds and the untrained network.
      batch_size: of the features.

    Raises:
      ValueError: fewer than two classes with two examples; too few of `most` for the classes.
    """
    shape = (*preprocess.image_size, preprocess.channels)
    labels = read_labels(source)
    counts = np.bincount(labels, minlength=len(source.class_names))
    sampled = _sample(source, labels, most, seed)
    images = jnp.zeros((1, *shape))
    init = jax.jit(lambda key: model.init(key, images, train=False))
    scores = [
        _scores(model, v, sampled, preprocess, seed, batch_size)
        for v in (variables, init(jax.random.key(seed)))
    ]
    depths = tuple(
        Depth(tap, channels, accuracy, spread, scores[1][tap][1])
        for tap, (channels, accuracy, spread) in scores[0].items()
    )
    best, untrained = max(d.accuracy for d in depths), max(d.random for d in depths)
    gain = (best - untrained) / max(1 - untrained, 1e-9)
    similar = gain >= SIMILAR_GAIN
    enough = len(labels) >= ENOUGH_EXAMPLES and int(counts.min()) >= ENOUGH_PER_CLASS
    stages = [stage.name for stage in stages_of(model, shape) if stage.name != HEAD]
    transfer, reason = _choose(similar, enough, weights, min(2, len(stages)))
    return Advice(
        num_examples=len(labels),
        fewest=int(counts.min()),
        depths=depths,
        chance=float(counts.max() / counts.sum()),
        gain=float(gain),
        similar=similar,
        enough=enough,
        transfer=dataclasses.replace(transfer, checkpoint=checkpoint),
        reason=reason,
    )


def _sample(source: Source, labels: np.ndarray, most: int, seed: int) -> Source:
    """What is probed: of each class as many as there are folds, where that is possible."""
    counts = np.bincount(labels)
    classes = int((counts > 1).sum())
    if classes > 1 and (counts == 1).any():  # No fold can leave out a class's only example.
        source = Subset(source, np.flatnonzero(counts[labels] > 1))
    if len(source) > most < 2 * classes:
        raise ValueError(
            f"most={most} examples cannot be 2 of each of {classes} classes, which "
            f"cross-validation needs; take at least {2 * classes} (--most)."
        )
    return sample(source, most, seed, fewest=min(FOLDS, most // max(classes, 1)))


def _scores(
    model: nn.Module,
    variables: Any,
    source: Source,
    preprocess: Preprocess,
    seed: int,
    batch_size: int,
) -> dict[str, tuple[int, float, float]]:
    """Channels, accuracy and spread by tap; a tap whose mean the head reads counts as `last`."""
    found = compute_features(model, variables, source, preprocess, taps=True, batch_size=batch_size)
    last = found.arrays[LAST]
    scores = {}
    for tap, x in found.arrays.items():
        if tap != LAST and x.shape == last.shape and np.allclose(x, last, rtol=1e-4, atol=1e-5):
            continue
        choices = cross_validate(x, found.labels, len(source.class_names), grid=GRID, seed=seed)
        scores[tap] = (x.shape[1], choices[0].accuracy, choices[0].spread)
    return scores


def _choose(similar: bool, enough: bool, weights: str, several: int) -> tuple[TransferConfig, str]:
    if similar and not enough:
        return (
            TransferConfig(weights, regime="linear_probe"),
            "The features tell the classes apart already, and there is too little data to improve "
            "them: train the head alone.",
        )
    if similar:
        return (
            TransferConfig(weights, stage_decay=0.5),
            "The features fit and there is data to sharpen them: fine-tune everything, earlier "
            "stages at lower rates.",
        )
    if not enough:
        return (
            TransferConfig(weights, regime="top_layers", stages=several),
            "The features help little and there is little data: train the last stages and the "
            "head, keep the general early ones, and expect modest accuracy; more data or closer "
            "weights would help most.",
        )
    return (
        TransferConfig(weights),
        "The features fit poorly but there is data to change them: fine-tune everything at one "
        "rate; the weights serve as a better start than random ones.",
    )
