"""Every kind of picture of a network by name: what `scripts/visualize.py` draws."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from jaxcnn.preprocess import Preprocess
from jaxcnn.visualize.cam import draw_cam, grad_cam
from jaxcnn.visualize.canvas import FORMATS
from jaxcnn.visualize.kernels import draw_kernels, first_layer
from jaxcnn.visualize.maps import draw_maps, feature_maps
from jaxcnn.visualize.maximize import Ascent, draw_maximized, draw_units, maximize, maximize_stages
from jaxcnn.visualize.occlusion import draw_occlusion, occlusion
from jaxcnn.visualize.program import NotApplicable, Program
from jaxcnn.visualize.receptive import draw_views, strongest_units
from jaxcnn.visualize.saliency import draw_guided, draw_saliency, guided_grad_cam, saliency
from jaxcnn.visualize.sanity import METHODS, check_method, draw_randomization

# Above this size a picture that needs hundreds of gradients is drawn only when it is asked for.
_MOST_PIXELS = 64 * 64
_MOST_CLASSES = 10
_LEAST_MAP = 4


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network with its weights and the photos that it is shown.

    Attributes:
      name: for the titles.
      model: any Linen module that gives logits [B, classes].
      variables: its variables.
      preprocess: how a photo becomes an input.
      class_names: in the order of the logits.
      photos: uint8 [N, H, W, C], of the preprocess's size; None for none.
      layer: a tap or a module's path for the pictures that look at one; each one's own default,
        for class activation maps the deepest tap whose map is at least 4x4.
      classes: which class is explained; the predicted ones by default.
      truths: the names of the photos' true classes, where they are known.
      ascent: how inputs are maximised.
    """

    name: str
    model: nn.Module
    variables: Any
    preprocess: Preprocess
    class_names: Sequence[str]
    photos: np.ndarray | None = None
    layer: str | None = None
    classes: int | None = None
    truths: Sequence[str] = ()
    ascent: Ascent = Ascent()

    @property
    def inputs(self) -> np.ndarray:
        """The photos as the network takes them, float32 [N, H, W, C]."""
        mean, std = (np.asarray(v, np.float32) for v in (self.preprocess.mean, self.preprocess.std))
        return (np.asarray(self.shown, np.float32) / 255 - mean) / std

    @property
    def shown(self) -> np.ndarray:
        """The photos; raises ValueError where there are none, or they have another size."""
        need = (*self.preprocess.image_size, self.preprocess.channels)
        if self.photos is None or len(self.photos) == 0:
            raise ValueError("this picture needs at least one photo.")
        if self.photos.shape[1:] != need:
            raise ValueError(
                f"photos of {'x'.join(map(str, self.photos.shape[1:]))}: the network takes "
                f"{'x'.join(map(str, need))}; resize them as preprocess says."
            )
        return self.photos

    @property
    def labels(self) -> dict[str, Any]:
        return {"title": self.name, "truths": self.truths}

    @property
    def network(self) -> tuple[nn.Module, Any]:
        return self.model, self.variables


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of picture: what it shows, how it is drawn, and what it needs."""

    shows: str
    draw: Callable[[Subject, pathlib.Path], None]
    photos: bool = True
    heavy: bool = False


def draw_pictures(
    subject: Subject,
    folder: pathlib.Path,
    only: Sequence[str] = (),
    *,
    form: str = "png",
    begin: Callable[[str], None] = lambda name: None,
) -> Iterator[tuple[str, pathlib.Path | str]]:
    """Draw kinds of pictures into a folder, one after another.

    Args:
      subject: the network and its photos.
      folder: is made where it is not there.
      only: names of `KINDS`; by default all that make sense for the network, the photos and, for
        those that take long, the size of the images.
      form: png, svg or pdf.
      begin: is told of each kind before it is drawn.

    Yields:
      each kind with the file that was written, or with why it was left out.

    Raises:
      ValueError: an unknown kind, form or layer; a kind that was asked for and cannot be drawn.
    """
    for name in only:
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}."
            raise ValueError(f"There is no kind of picture {name!r}; {hint}")
    if form not in FORMATS:
        raise ValueError(f"There is no format {form!r}; there are {', '.join(FORMATS)}.")
    if subject.layer:
        _program(subject).shape(subject.layer)
    for name in only or KINDS:
        kind = KINDS[name]
        reason = "" if only else _left_out(kind, subject)
        path = folder / f"{name}.{form}"
        try:
            if not reason:
                begin(name)
                kind.draw(subject, path)
        except NotApplicable as error:
            if only:
                raise
            reason = str(error)
        yield name, reason or path


def _program(subject: Subject) -> Program:
    shape = (1, *subject.preprocess.image_size, subject.preprocess.channels)
    return Program(*subject.network, np.empty(shape))


def _cam_layer(subject: Subject) -> str | None:
    """The layer for class activation maps; None is the network's own.

    By default the deepest tap with a map of 4x4 or more, where there is one: the 2x2 at the end of
    a network for 8x8 pixels shows no place, and four numbers have no rank correlation to speak of.
    """
    if subject.layer:
        return subject.layer
    program = _program(subject)
    shapes = {name: program.shape(name) for name in program.taps}
    maps = [name for name, s in shapes.items() if len(s) == 4 and min(s[1:3]) >= _LEAST_MAP]
    return maps[-1] if maps else None


def _left_out(kind: Kind, subject: Subject) -> str:
    if kind.photos and (subject.photos is None or len(subject.photos) == 0):
        return "no photos were given"
    height, width = subject.preprocess.image_size
    if kind.heavy and height * width > _MOST_PIXELS:
        return f"takes long for images of {height}x{width}; ask for it by name"
    return ""


def _kernels(subject: Subject, path: pathlib.Path) -> None:
    shape = (*subject.preprocess.image_size, subject.preprocess.channels)
    draw_kernels(first_layer(*subject.network, shape), path, title=subject.name)


def _maps(subject: Subject, path: pathlib.Path) -> None:
    layers = [subject.layer] if subject.layer else None
    found = feature_maps(*subject.network, subject.inputs[0], layers=layers)
    draw_maps(subject.shown[0], found, path, title=subject.name)


def _cam(subject: Subject, path: pathlib.Path) -> None:
    result = grad_cam(
        *subject.network, subject.inputs, classes=subject.classes, layer=_cam_layer(subject)
    )
    draw_cam(subject.shown, result, subject.class_names, path, **subject.labels)


def _guided(subject: Subject, path: pathlib.Path) -> None:
    result = guided_grad_cam(
        *subject.network, subject.inputs, classes=subject.classes, layer=_cam_layer(subject)
    )
    draw_guided(subject.shown, result, subject.class_names, path, **subject.labels)


def _saliency(subject: Subject, path: pathlib.Path) -> None:
    result = saliency(*subject.network, subject.inputs, classes=subject.classes)
    draw_saliency(subject.shown, result, subject.class_names, path, **subject.labels)


def _occlusion(subject: Subject, path: pathlib.Path) -> None:
    result = occlusion(*subject.network, subject.inputs, classes=subject.classes)
    draw_occlusion(subject.shown, result, subject.class_names, path, **subject.labels)


def _receptive(subject: Subject, path: pathlib.Path) -> None:
    layers = [subject.layer] if subject.layer else None
    views = strongest_units(*subject.network, subject.inputs[0], layers)
    draw_views(subject.shown[0], views, path, title=subject.name)


def _maximize(subject: Subject, path: pathlib.Path) -> None:
    channels = [subject.classes or 0]
    if subject.layer or subject.classes is None:
        total = len(subject.class_names)
        if subject.layer:
            total = _program(subject).shape(subject.layer)[-1]
        channels = list(range(min(_MOST_CLASSES, total)))
    result = maximize(
        *subject.network, subject.preprocess, channels, layer=subject.layer, ascent=subject.ascent
    )
    draw_maximized(result, path, class_names=subject.class_names, title=subject.name)


def _stages(subject: Subject, path: pathlib.Path) -> None:
    results = maximize_stages(*subject.network, subject.preprocess, ascent=subject.ascent)
    draw_units(results, path, title=subject.name)


def _sanity(subject: Subject, path: pathlib.Path) -> None:
    program = Program(*subject.network, subject.inputs)
    drawn, layer = program.initial_weights(seed=0), _cam_layer(subject)
    results = []
    for method in METHODS:
        try:
            results.append(
                check_method(program, subject.inputs, method, drawn, subject.classes, layer)
            )
        except NotApplicable:  # no convolution, or no ReLU: the other methods are still checked
            continue
    draw_randomization(subject.shown[0], results, path, title=subject.name)


KINDS: Mapping[str, Kind] = {
    "kernels": Kind("first-layer kernels beside the nearest classical filter", _kernels, False),
    "maps": Kind("feature maps of each stage", _maps),
    "cam": Kind("Grad-CAM", _cam),
    "guided": Kind("Grad-CAM, guided backpropagation and their product", _guided),
    "saliency": Kind("the gradient for the pixels", _saliency),
    "occlusion": Kind("the probability that covering takes away", _occlusion),
    "receptive": Kind("receptive fields of the strongest units", _receptive),
    "maximize": Kind("the input that each class answers to most", _maximize, False, True),
    "stages": Kind("the inputs that channels of each stage answer to most", _stages, False, True),
    "sanity": Kind("whether maps depend on the weights", _sanity, heavy=True),
}
