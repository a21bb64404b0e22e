"""Grad-CAM: where in the photo is the evidence for a class (Selvaraju et al. 2017)."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.visualize.canvas import AMOUNT, Panel, Row, Scale, draw_grid
from jaxcnn.visualize.program import Program, choose_classes


@dataclasses.dataclass(frozen=True)
class CamResult:
    """Class activation maps of a batch.

    Attributes:
      layer: whose activations were weighed.
      classes: int [B], the class that each map is for.
      scores: float [B], its logit.
      probabilities: float [B], its softmax.
      maps: float [B, h, w], ReLU(sum_k a_k A_k), on the layer's grid, in units of the logit.
      image_size: height and width of the photos.
    """

    layer: str
    classes: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    maps: np.ndarray
    image_size: tuple[int, int]

    @property
    def evidence(self) -> np.ndarray:
        """bool [B]: False where the map is zero everywhere, "no positive evidence".

        Nothing in the layer speaks for the class there; a map scaled to its largest value would
        be 0 / 0.
        """
        return self.maps.max(axis=(1, 2)) > 0

    @property
    def normalized(self) -> np.ndarray:
        """The maps divided by their largest values, in [0, 1]; zeros without evidence."""
        largest = self.maps.max(axis=(1, 2), keepdims=True)
        return np.where(largest > 0, self.maps / np.where(largest > 0, largest, 1), 0)

    @property
    def upsampled(self) -> np.ndarray:
        """`normalized` in the photo's pixels, [B, H, W], bilinear."""
        return upsample(self.normalized, self.image_size)


def grad_cam(
    model: nn.Module,
    variables: Any,
    images: Any,
    *,
    classes: int | Sequence[int] | None = None,
    layer: str | None = None,
    call_args: Mapping[str, Any] | None = None,
) -> CamResult:
    """Grad-CAM of one class for each image (Selvaraju et al. 2017, equations 1 and 2).

    The weight a_k of channel k is the gradient of the class's logit for the layer's activations
    A_k, averaged over space; the map is ReLU(sum_k a_k A_k).

    Args:
      model: any Linen module that gives logits [B, classes].
      variables: its variables.
      images: float [B, H, W, C], normalised as the network takes them.
      classes: one for all images or one for each; the predicted ones by default.
      layer: a tap or a module's path; the last tap with an extent in space by default, or the
        last convolution of a network that declares no taps.
      call_args: further arguments of the module's call.

    Raises:
      TraceError: the module cannot be traced on such images.
      ValueError: an unknown layer or class, a layer without an extent in space, a network without
        a convolution, weights that do not fit the images.
    """
    program = Program(model, variables, images, call_args=call_args)
    name = program.cam_layer() if layer is None else layer
    return cam_of(program, program.weights, images, name, classes)


def cam_of(
    program: Program,
    weights: Sequence[Any],
    images: Any,
    layer: str,
    classes: int | Sequence[int] | None = None,
) -> CamResult:
    """`grad_cam` for a network that is traced already, with weights of the same shapes."""
    images = jnp.asarray(images, jnp.float32)
    logits = np.asarray(jax.jit(lambda w, x: program.run(w, x)[0])(weights, images))
    chosen = choose_classes(logits, classes)
    rows = np.arange(len(chosen))
    return CamResult(
        layer=layer,
        classes=chosen,
        scores=logits[rows, chosen],
        probabilities=np.asarray(jax.nn.softmax(logits))[rows, chosen],
        maps=np.asarray(cam_function(program, layer)(weights, images, jnp.asarray(chosen))),
        image_size=(images.shape[1], images.shape[2]),
    )


def cam_function(
    program: Program, layer: str
) -> Callable[[Sequence[Any], jax.Array, jax.Array], jax.Array]:
    """A compiled function (weights, images, classes [B]) -> maps [B, h, w].

    Raises:
      ValueError: an unknown layer, or one without an extent in space.
    """
    shape = program.shape(layer)
    if len(shape) != 4:
        spatial = [n for n in reversed(program.layers) if len(program.shapes[n]) == 4]
        spatial.sort(key=lambda n: n not in program.taps)
        instead = f"take one that has, such as {spatial[0]!r}" if spatial else "it has none that do"
        raise ValueError(
            f"layer {layer!r} gives {list(shape)}, without rows and columns to map; {instead}."
        )

    @jax.jit
    def maps(weights: Sequence[Any], images: jax.Array, chosen: jax.Array) -> jax.Array:
        def score(shift: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, values = program.run(weights, images, capture=[layer], shift={layer: shift})
            return jnp.take_along_axis(logits, chosen[:, None], 1).sum(), values[layer]

        gradient, activations = jax.grad(score, has_aux=True)(jnp.zeros(shape))
        channels = gradient.mean(axis=(1, 2), keepdims=True)
        return jax.nn.relu((channels * activations).sum(axis=-1))

    return maps


def upsample(maps: Any, image_size: tuple[int, int]) -> np.ndarray:
    """Maps [B, h, w] in the photo's pixels, [B, H, W], bilinear."""
    maps = jnp.asarray(maps)
    return np.asarray(jax.image.resize(maps, (maps.shape[0], *image_size), "bilinear"))


def draw_cam(
    photos: np.ndarray,
    result: CamResult,
    class_names: Sequence[str],
    path: pathlib.Path,
    *,
    title: str = "",
    truths: Sequence[str] = (),
) -> None:
    """Photos uint8 [B, H, W, C] above their maps, and lit by them; `truths` are known names."""
    titles = class_titles(result.classes, class_names, result.probabilities, truths)
    draw_grid(
        [
            Row("photo", [Panel(p, title=t) for p, t in zip(photos, titles, strict=True)]),
            Row("Grad-CAM", cam_panels(result), CAM_SCALE),
            Row(
                "photo, lit where\nthe evidence is",
                [Panel(p, light=m) for p, m in zip(photos, result.upsampled, strict=True)],
            ),
        ],
        path,
        title=f"{title}: where the evidence for a class is\n(Grad-CAM at {result.layer})",
    )


CAM_SCALE = Scale("share of the largest", AMOUNT, (0, 1))


def cam_panels(result: CamResult) -> list[Panel]:
    """The maps in the photos' pixels, or "no positive evidence"."""
    return [
        Panel(heat, AMOUNT, (0, 1), note="" if some else "no positive\nevidence")
        for heat, some in zip(result.upsampled, result.evidence, strict=True)
    ]


def class_titles(
    classes: np.ndarray,
    class_names: Sequence[str],
    probabilities: np.ndarray | None = None,
    truths: Sequence[str] = (),
) -> list[str]:
    """`cat (93%)` for each photo, with `is dog` below where the truth is known and another."""
    titles = [class_names[c] for c in classes]
    if probabilities is not None:
        titles = [f"{t} ({p:.0%})" for t, p in zip(titles, probabilities, strict=True)]
    if not truths:
        return titles
    right = [class_names[c] == truth for c, truth in zip(classes, truths, strict=True)]
    return [
        title if good else f"{title}\nis {truth}"
        for title, good, truth in zip(titles, right, truths, strict=True)
    ]
