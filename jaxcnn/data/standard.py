"""The standard test sets by name, with what is particular to their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jaxcnn.data.errors import DataError
from jaxcnn.data.source import (
    Example,
    Source,
    hash_identity,
    key_of,
    open_source,
    read_labels,
    read_many,
)

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# Where the split is not named, the first of these that the dataset has.
_SPLITS = ("test", "validation", "val")


@dataclasses.dataclass(frozen=True)
class StandardSet:
    """One row of the table.

    Attributes:
      split: what is evaluated.
      config: of the dataset, where it has several: what is meant by the bare name.
      labels: `single`; `real`: several classes may be right, and images without any are left
        out; `subset`: only some of the network's classes occur, and only they compete.
      class_names: where the dataset has numbers for names.
    """

    split: str
    config: str = ""
    labels: Literal["single", "real", "subset"] = "single"
    class_names: tuple[str, ...] | None = None


STANDARD_SETS = {
    "imagenet2012": StandardSet("validation"),
    # Recht et al. 2019; "matched-frequency" is the set that the paper reports first.
    "imagenet_v2": StandardSet("test", "matched-frequency"),
    # Beyer et al. 2020, "Are we done with ImageNet?"
    "imagenet2012_real": StandardSet("validation", labels="real"),
    # Hendrycks et al. 2021: 200 of ImageNet's classes each, not the same ones.
    "imagenet_a": StandardSet("test", labels="subset"),
    "imagenet_r": StandardSet("test", labels="subset"),
    # Recht et al. 2018; v4 is what the paper's main sections report.
    "cifar10_1": StandardSet("test", "v4", class_names=CIFAR10_CLASSES),
}


@dataclasses.dataclass(frozen=True)
class EvalSource:
    """A view of a source for evaluation: other labels, fewer examples, or fewer classes.

    Attributes:
      base: the source.
      class_names: the classes of the labels.
      network_classes: the classes that a network is expected to score.
      indices: which examples of the base, int64 `[N]`.
      label: their classes, int64 `[N]`; None where they are the base's.
      logit_index: which of the network's classes each class is; None where they are the same.
      targets: all right classes of each example, int32 `[N, K]`, filled up with -1; or None.
      excluded: examples of the base that have no label and are left out.
    """

    base: Source
    class_names: tuple[str, ...]
    network_classes: tuple[str, ...]
    indices: np.ndarray
    label: np.ndarray | None = None
    logit_index: tuple[int, ...] | None = None
    targets: np.ndarray | None = None
    excluded: int = 0

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def split(self) -> str:
        return self.base.split

    @property
    def fingerprint(self) -> str:
        """Changes with the base, the examples, and their labels."""
        right = self.label if self.targets is None else self.targets
        labels = None if right is None else right.tolist()
        parts = (self.indices.tolist(), labels, self.class_names)
        return hash_identity(self.base.fingerprint, *parts)

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        return getattr(self.base, "image_shape", (None, None, 3))

    @property
    def num_bytes(self) -> int:
        """What has to be read for the labels alone."""
        return getattr(self.base, "num_bytes", 0) if self.label is None else 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.read_many([index])[0]

    def key(self, index: int) -> str:
        """The base's key of an example."""
        return key_of(self.base, int(self.indices[index]))

    def read_many(self, indices: Sequence[int]) -> list[Example]:
        """Reads a block of examples, with this view's labels."""
        examples = read_many(self.base, [int(self.indices[i]) for i in indices])
        if self.label is None:
            return examples
        return [
            dataclasses.replace(example, label=int(self.label[i]))
            for i, example in zip(indices, examples, strict=True)
        ]

    def labels(self) -> np.ndarray:
        """The label of every example, int64 `[N]`."""
        return read_labels(self.base)[self.indices] if self.label is None else self.label


def open_eval_source(name: str, split: str | None = None, *, data_dir: str | None = None) -> Source:
    """Opens data for evaluation: a standard set with its own rules, or any other source.

    Args:
      name: as for `open_source`; a name in `STANDARD_SETS` means the usual config, and its labels
        are read as the table says (for `real` and `subset` each record is read once for that).
      split: default: the standard set's, else the first of `test`, `validation` and `val`.
      data_dir: as for `open_source`.

    Raises:
      DataError: as `open_source`; or none of the examples has a label.
    """
    base_name = name.partition(":")[0].partition("/")[0]
    row = STANDARD_SETS.get(base_name)
    if row is None:
        return _open_any(name, split, data_dir)
    if row.config and "/" not in name:
        name = f"{base_name}/{row.config}{name[len(base_name) :]}"
    source = open_source(name, split or row.split, data_dir=data_dir)
    if row.class_names is not None:
        if len(row.class_names) != len(source.class_names):
            raise DataError(f"{name!r} has {len(source.class_names)} classes; prepare it again.")
        return _view(source, class_names=row.class_names, network_classes=row.class_names)
    if row.labels == "real":
        return _with_real_labels(source)
    if row.labels == "subset":
        whole = open_source(name, row.split, data_dir=data_dir)
        return _with_classes_that_occur(source, whole)
    return source


def _open_any(name: str, split: str | None, data_dir: str | None) -> Source:
    if split is not None:
        return open_source(name, split, data_dir=data_dir)
    first: DataError | None = None
    for candidate in _SPLITS:
        try:
            return open_source(name, candidate, data_dir=data_dir)
        except DataError as error:
            first = first or error
    assert first is not None
    raise first


def match_classes(source: Source, names: Sequence[str], *, known: bool = True) -> Source:
    """The source as a network with the classes `names` has to be judged on it.

    Args:
      source: the data.
      names: the network's classes in the order of its logits.
      known: whether they are names, and not only numbers: bare weights don't know their classes,
        and take the data's in the data's order.

    Returns:
      The source; or, where it has the same classes in another order, a view with `logit_index`.

    Raises:
      DataError: another number of classes, or labels that the network does not know.
    """
    wanted = getattr(source, "network_classes", source.class_names)
    if len(wanted) != len(names):
        raise DataError(
            f"{source.name!r} has {len(wanted)} classes ({_some(wanted)}) and the network "
            f"{len(names)}{f' ({_some(names)})' if known else ''}; evaluate it on data with its "
            "own classes."
        )
    if not known or tuple(wanted) == tuple(names):
        return source
    place = {name: i for i, name in enumerate(names)}
    unknown = [name for name in wanted if name not in place]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {source.name!r}'s {len(wanted)} labels are unknown to the "
            f"network: {_some(unknown)}; it knows {_some(names)}. Rename the classes of the data, "
            "or evaluate a network of theirs."
        )
    before = getattr(source, "logit_index", None) or range(len(wanted))
    return _view(source, logit_index=tuple(place[wanted[i]] for i in before))


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")


def _view(source: Source, **fields: Any) -> EvalSource:
    if isinstance(source, EvalSource):
        return dataclasses.replace(source, **fields)
    defaults: dict[str, Any] = {
        "class_names": tuple(source.class_names),
        "network_classes": tuple(getattr(source, "network_classes", source.class_names)),
        "indices": np.arange(len(source)),
        "logit_index": getattr(source, "logit_index", None),
        "targets": getattr(source, "targets", None),
    }
    return EvalSource(source, **(defaults | fields))


def _with_real_labels(source: Any) -> EvalSource:
    """Every class that is right; examples without one are left out, as the paper does."""
    lists = source.read_ints("real_label")
    kept = np.array([i for i, labels in enumerate(lists) if labels], np.int64)
    if not len(kept):
        raise DataError(f"{source.name!r}, split {source.split!r}: no example has a label.")
    targets = np.full((len(kept), max(map(len, lists))), -1, np.int32)
    for row, i in enumerate(kept):
        targets[row, : len(lists[i])] = lists[i]
    if targets.max() >= len(source.class_names) or targets[:, 0].min() < 0:
        raise DataError(f"{source.name!r} has labels outside its classes; prepare it again.")
    return _view(
        source,
        indices=kept,
        label=targets[:, 0].astype(np.int64),
        targets=targets,
        excluded=len(lists) - len(kept),
    )


def _with_classes_that_occur(source: Source, whole: Source) -> EvalSource:
    """Only the classes of the whole set compete, as in the papers' own evaluation."""
    everything = read_labels(whole)
    labels = everything if source.split == whole.split else read_labels(source)
    classes = np.unique(everything)
    names = tuple(source.class_names)
    if len(classes) and not 0 <= classes[0] <= classes[-1] < len(names):
        raise DataError(f"{source.name!r} has labels outside its classes; prepare it again.")
    return _view(
        source,
        class_names=tuple(names[c] for c in classes),
        label=np.searchsorted(classes, labels),
        logit_index=tuple(int(c) for c in classes),
    )
