"""Our module names beside those of published weights: one table for each family.

A row is a pattern of our module paths and the name that PyTorch's network has in its place; the
first full match counts. `{n}` in a name counts from 0 where we count from 1.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

from flax import linen as nn

Size = tuple[int, int]
# What a table may depend on: the network, and the size of its images.
Builder = Callable[[Any, Size], "Table"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One pattern of modules.

    Attributes:
      ours: a regular expression for a module's path, with slashes.
      theirs: the name in a state dict, with the pattern's groups.
      grid: of a dense layer that reads a flattened map, the map's height and width: PyTorch
        flattens channels first, we flatten them last.
      as_conv: the dense layer is stored as a convolution over that grid.
    """

    ours: str
    theirs: str
    grid: Size = (1, 1)
    as_conv: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """All of a family's modules.

    Attributes:
      rows: in the order in which they are tried.
      first: the module that reads the images.
      heads: the modules whose size is the number of classes.
      counters: each norm has a `num_batches_tracked` too.
    """

    rows: tuple[Row, ...]
    first: str
    heads: tuple[str, ...] = ("head",)
    counters: bool = True

    def find(self, path: str) -> tuple[str, Row]:
        """PyTorch's name of one of our modules, and its row."""
        for row in self.rows:
            match = re.fullmatch(row.ours, path)
            if match:
                name = re.sub(r"\{(\d+)\}", lambda m: str(int(m[1]) - 1), match.expand(row.theirs))
                return name, row
        raise KeyError(f"The table has no row for the module {path!r}; add one.")


# torchvision's names, which timm keeps.
_RESNET = Table(
    (
        Row(r"stem_conv", r"conv1"),
        Row(r"stem_norm", r"bn1"),
        Row(r"stage(\d+)_block(\d+)/conv(\d)", r"layer\1.{\2}.conv\3"),
        Row(r"stage(\d+)_block(\d+)/norm(\d)", r"layer\1.{\2}.bn\3"),
        Row(r"stage(\d+)_block(\d+)/project", r"layer\1.{\2}.downsample.0"),
        Row(r"stage(\d+)_block(\d+)/project_norm", r"layer\1.{\2}.downsample.1"),
        Row(r"head", r"fc"),
    ),
    first="stem_conv",
)

# akamaster/pytorch_resnet_cifar10, whose head is `linear`.
_CIFAR_RESNET = Table(
    (
        Row(r"stage(\d+)_block(\d+)/project", r"layer\1.{\2}.shortcut.0"),
        Row(r"stage(\d+)_block(\d+)/project_norm", r"layer\1.{\2}.shortcut.1"),
        Row(r"head", r"linear"),
        *_RESNET.rows,
    ),
    first="stem_conv",
    counters=False,
)

# torchvision's; each place has a convolution and, in the form with BatchNorm, a norm.
_GOOGLENET_PLACES = (
    (r"stem_layer(\d)", r"conv\1"),
    (r"(inception\w+)/branch1", r"\1.branch1"),
    (r"(inception\w+)/branch(\d)_reduce", r"\1.branch\2.0"),
    (r"(inception\w+)/branch(\d)", r"\1.branch\2.1"),
    (r"(aux\d)/layer", r"\1.conv"),
)
_GOOGLENET = Table(
    (
        *(Row(f"{ours}/conv", f"{theirs}.conv") for ours, theirs in _GOOGLENET_PLACES),
        *(Row(f"{ours}/norm", f"{theirs}.bn") for ours, theirs in _GOOGLENET_PLACES),
        Row(r"(aux\d)/dense", r"\1.fc1", grid=(4, 4)),
        Row(r"(aux\d)/head", r"\1.fc2"),
        Row(r"head", r"fc"),
    ),
    first="stem_layer1/conv",
    heads=("head", "aux1/head", "aux2/head"),
)

_ALEXNET = Table(
    (
        *(Row(rf"conv{i}", rf"features.{n}") for i, n in ((1, 0), (2, 3), (3, 6), (4, 8), (5, 10))),
        Row(r"dense1", r"classifier.1", grid=(6, 6)),
        Row(r"dense2", r"classifier.4"),
        Row(r"head", r"classifier.6"),
    ),
    first="conv1",
)

_VGG_HEADS = {
    "torch": (
        Row(r"dense1", r"classifier.0", grid=(7, 7)),
        Row(r"dense2", r"classifier.3"),
        Row(r"head", r"classifier.6"),
    ),
    "timm": (
        Row(r"dense1", r"pre_logits.fc1", grid=(7, 7), as_conv=True),
        Row(r"dense2", r"pre_logits.fc2", as_conv=True),
        Row(r"head", r"head.fc"),
    ),
}


def _vgg(naming: str, model: Any) -> Table:
    # `features` numbers every layer: convolutions, norms, ReLUs and poolings.
    rows, number = [], 0
    for stage, layers in enumerate(model.spec.layers, 1):
        for layer in range(1, layers + 1):
            ours = f"stage{stage}_layer{layer}"
            rows.append(Row(rf"{ours}/conv", f"features.{number}"))
            rows.append(Row(rf"{ours}/norm", f"features.{number + 1}"))
            number += 2 if model.norm is None else 3
        number += 1
    return Table((*rows, *_VGG_HEADS[naming]), first="stage1_layer1/conv")


def _lenet(image_size: Size) -> Table:
    height, width = (((n - 4) // 2 - 4) // 2 for n in image_size)
    return Table(
        (
            Row(r"conv(\d)", r"conv\1"),
            Row(r"dense1", r"fc1", grid=(height, width)),
            Row(r"dense2", r"fc2"),
            Row(r"head", r"fc3"),
        ),
        first="conv1",
    )


def _mlp(image_size: Size) -> Table:
    return Table(
        (Row(r"dense1", r"dense1", grid=image_size), Row(r"(dense\d+|head)", r"\1")),
        first="dense1",
    )


_SMALL_CNN = Table((Row(r"(\w+)", r"\1"),), first="stage1_conv1")

# By family, then by naming; `torch` is torchvision's or that of the weights which are published.
TABLES: dict[str, dict[str, Builder]] = {
    "mlp": {"torch": lambda model, size: _mlp(size)},
    "small_cnn": {"torch": lambda model, size: _SMALL_CNN},
    "lenet": {"torch": lambda model, size: _lenet(size)},
    "cifar_resnet": {"torch": lambda model, size: _CIFAR_RESNET},
    "alexnet": {"torch": lambda model, size: _ALEXNET},
    "vgg": {
        "torch": lambda model, size: _vgg("torch", model),
        "timm": lambda model, size: _vgg("timm", model),
    },
    "googlenet": {"torch": lambda model, size: _GOOGLENET},
    "resnet": {"torch": lambda model, size: _RESNET, "timm": lambda model, size: _RESNET},
}


# Of a module of one's own, which has no names but ours.
NO_TABLE = Table((), first="", heads=(), counters=False)


def tables(model: nn.Module, image_size: Size) -> dict[str, Table]:
    """The tables of a network's family by naming; none for a module of one's own."""
    module = inspect.getmodule(type(model))
    package, _, family = (module.__name__ if module else "").rpartition(".")
    if package != "jaxcnn.models" or family not in TABLES:
        return {}
    return {naming: build(model, image_size) for naming, build in TABLES[family].items()}
