"""The families' tables joined: networks by name."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from types import ModuleType
from typing import Any

from flax import linen as nn

from jaxcnn.arguments import nearest
from jaxcnn.models import alexnet, cifar_resnet, googlenet, lenet, mlp, resnet, small_cnn, vgg
from jaxcnn.models.checks import check_num_classes
from jaxcnn.models.taps import Tap, spatial_tap

# One line a family: a module with SPECS, PAPER and build(name, **fields).
FAMILIES: tuple[ModuleType, ...] = (
    mlp,
    small_cnn,
    lenet,
    cifar_resnet,
    alexnet,
    vgg,
    googlenet,
    resnet,
)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known of a network before it is built.

    Attributes:
      name: as `create_model` takes it.
      family: the module that defines it.
      image_size: height and width that it is made for.
      min_size: the smallest height and width that it takes, in pixels.
      channels: of the images that it is made for; any number works.
      num_classes: the default.
      taps: what `features` gives, with strides and channels.
      cam_layer: the last tap with an extent in space, which class activation maps look at; None
        where there is none.
      paper: where it comes from.
    """

    name: str
    family: str
    image_size: tuple[int, int]
    min_size: int
    channels: int
    num_classes: int
    taps: tuple[Tap, ...]
    cam_layer: str | None
    paper: str


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, in natural order (`resnet20` before `resnet110`)."""
    names = [name for family in FAMILIES for name in family.SPECS]
    return sorted(fnmatch.filter(names, pattern), key=_natural)


def create_model(name: str, **fields: Any) -> nn.Module:
    """A Linen module by name; it holds no weights.

    Args:
      name: one of `list_models()`.
      **fields: fields of the module that differ from its defaults, such as `num_classes` (0: no
        head, the pooled features are returned), `dtype`, `param_dtype`, `norm` or `dropout`.

    Raises:
      ValueError: for an unknown name or field, of which it suggests the nearest, or a number of
        classes that is none.
    """
    family = _family(name)
    model = family.build(name)
    known = [f.name for f in dataclasses.fields(model) if f.name not in ("spec", "parent", "name")]
    for field in fields:
        if field not in known:
            raise ValueError(
                f"{name} has no field {field!r}{nearest(field, known)}; it has {', '.join(known)}."
            )
    if "num_classes" in fields:
        fields["num_classes"] = check_num_classes(fields["num_classes"])
    return family.build(name, **fields)


def model_info(name: str) -> ModelInfo:
    """The record of a network.

    Raises:
      ValueError: for an unknown name; it suggests the nearest.
    """
    family = _family(name)
    model, spec = family.build(name), family.SPECS[name]
    return ModelInfo(
        name=name,
        family=family.__name__.rpartition(".")[2],
        image_size=spec.image_size,
        min_size=spec.min_size,
        channels=spec.channels,
        num_classes=model.num_classes,
        taps=model.taps,
        cam_layer=spatial_tap(model.taps),
        paper=family.PAPER,
    )


def _family(name: str) -> ModuleType:
    for family in FAMILIES:
        if name in family.SPECS:
            return family
    raise ValueError(
        f"There is no model {name!r}{nearest(name, list_models())}; "
        "jaxcnn.list_models(), or scripts/summarize.py --list, gives all names."
    )


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
