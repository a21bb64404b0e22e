"""Which pixels a class's score answers to: the gradient, plain and guided."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.visualize.cam import CAM_SCALE, CamResult, cam_of, cam_panels, class_titles
from jaxcnn.visualize.canvas import AMOUNT, SIGNED, Panel, Row, Scale, draw_grid
from jaxcnn.visualize.interpret import Unary
from jaxcnn.visualize.program import Program, choose_classes

Classes = int | Sequence[int] | None


@dataclasses.dataclass(frozen=True)
class GradientResult:
    """The gradient of one logit for each image's pixels.

    Attributes:
      classes: int [B], whose logit.
      scores: float [B], the logit.
      gradients: float [B, H, W, C], of the logit for the normalised input.
    """

    classes: np.ndarray
    scores: np.ndarray
    gradients: np.ndarray

    @property
    def maps(self) -> np.ndarray:
        """float [B, H, W]: the largest absolute value over channels (Simonyan et al. 2013)."""
        return np.abs(self.gradients).max(axis=-1)


@dataclasses.dataclass(frozen=True)
class GuidedResult:
    """Guided Grad-CAM and the two parts of which it is the product.

    Attributes:
      cam: Grad-CAM, coarse and for the class.
      guided: guided backpropagation, fine and hardly for the class.
      product: float [B, H, W, C], the one times the other upsampled.
    """

    cam: CamResult
    guided: GradientResult
    product: np.ndarray


def saliency(
    model: nn.Module,
    variables: Any,
    images: Any,
    *,
    classes: Classes = None,
    call_args: Mapping[str, Any] | None = None,
) -> GradientResult:
    """The gradient of a class's logit for the pixels (Simonyan et al. 2013, section 3).

    Arguments and errors as for `grad_cam`; any network will do.
    """
    program = Program(model, variables, images, call_args=call_args)
    return gradient_of(program, program.weights, images, classes)


def guided_backprop(
    model: nn.Module,
    variables: Any,
    images: Any,
    *,
    classes: Classes = None,
    call_args: Mapping[str, Any] | None = None,
) -> GradientResult:
    """`saliency` with ReLUs that pass only positive gradients (Springenberg et al. 2014, 3.4).

    Every maximum of a value and the number 0 in the traced program is a ReLU, wherever it is.
    Adebayo et al. 2018 found the pictures to depend little on the weights: see
    `randomization_check`.

    Raises:
      ValueError: as `grad_cam`; the network has no ReLU.
    """
    program = Program(model, variables, images, call_args=call_args)
    return gradient_of(program, program.weights, images, classes, guided_relu)


def guided_grad_cam(
    model: nn.Module,
    variables: Any,
    images: Any,
    *,
    classes: Classes = None,
    layer: str | None = None,
    call_args: Mapping[str, Any] | None = None,
) -> GuidedResult:
    """Guided backpropagation times Grad-CAM (Selvaraju et al. 2017, section 3.2).

    Arguments and errors as for `grad_cam`; the network needs a ReLU. Without positive evidence
    (`cam.evidence`) the product is zero.
    """
    program = Program(model, variables, images, call_args=call_args)
    name = program.cam_layer() if layer is None else layer
    cam = cam_of(program, program.weights, images, name, classes)
    guided = gradient_of(program, program.weights, images, cam.classes, guided_relu)
    return GuidedResult(cam, guided, guided.gradients * cam.upsampled[..., None])


def gradient_of(
    program: Program,
    weights: Sequence[Any],
    images: Any,
    classes: Any = None,
    relu: Unary | None = None,
) -> GradientResult:
    """The gradient for the pixels of a network that is traced already."""
    images = jnp.asarray(images, jnp.float32)
    if classes is None:
        classes = choose_classes(jax.jit(lambda w, x: program.run(w, x)[0])(weights, images))
    logits, chosen, gradients = gradient_function(program, relu)(weights, images, classes)
    return GradientResult(chosen, logits[np.arange(len(chosen)), chosen], gradients)


def gradient_function(
    program: Program, relu: Unary | None = None
) -> Callable[[Sequence[Any], Any, Any], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function (weights, images, classes) -> (logits, classes, gradients), compiled once."""

    @jax.jit
    def compiled(weights: Any, images: jax.Array, chosen: jax.Array) -> tuple[Any, Any]:
        def score(images: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, _ = program.run(weights, images, relu=relu)
            return jnp.take_along_axis(logits, chosen[:, None], 1).sum(), logits

        gradients, logits = jax.grad(score, has_aux=True)(images)
        return logits, gradients

    def run(weights: Any, images: Any, classes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = jax.eval_shape(lambda w, x: program.run(w, x)[0], weights, images)
        chosen = choose_classes(count, classes)
        logits, gradients = compiled(weights, images, jnp.asarray(chosen))
        return np.asarray(logits), chosen, np.asarray(gradients)

    return run


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    """max(x, 0), whose gradient passes where both x and the gradient from above are positive."""
    return jnp.maximum(x, 0)


def _guided_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.maximum(x, 0), x > 0


def _guided_backward(positive: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(positive & (gradient > 0), gradient, 0),)


guided_relu.defvjp(_guided_forward, _guided_backward)


def draw_saliency(
    photos: np.ndarray,
    result: GradientResult,
    class_names: Sequence[str],
    path: pathlib.Path,
    *,
    title: str = "",
    truths: Sequence[str] = (),
) -> None:
    """Photos uint8 [B, H, W, C] above the size of the gradient."""
    draw_grid(
        [
            Row("photo", _photos(photos, result.classes, class_names, truths)),
            Row(
                "|gradient|",
                [Panel(m / (m.max() or 1), AMOUNT, (0, 1)) for m in result.maps],
                Scale("share of the largest", AMOUNT, (0, 1)),
            ),
        ],
        path,
        title=f"{title}: the pixels that a class's score answers to\n(saliency: gradient of the "
        "logit)",
    )


def draw_guided(
    photos: np.ndarray,
    result: GuidedResult,
    class_names: Sequence[str],
    path: pathlib.Path,
    *,
    title: str = "",
    truths: Sequence[str] = (),
) -> None:
    """Photos above Grad-CAM, guided backpropagation and their product."""
    flat = ~result.cam.evidence
    products = [
        dataclasses.replace(panel, note="no positive\nevidence" if none else "")
        for panel, none in zip(_signed(result.product), flat, strict=True)
    ]
    draw_grid(
        [
            Row("photo", _photos(photos, result.cam.classes, class_names, truths)),
            Row("Grad-CAM", cam_panels(result.cam), CAM_SCALE),
            Row("guided\nbackpropagation", _signed(result.guided.gradients), _GRADIENT),
            Row("guided\nGrad-CAM", products, _GRADIENT),
        ],
        path,
        title=f"{title}: evidence for a class, coarse, fine, and both\n(Grad-CAM at "
        f"{result.cam.layer}; orange: where brighter speaks for the class, purple: where darker)",
    )


_GRADIENT = Scale("share of the largest", SIGNED, (-1, 1))


def _photos(
    photos: np.ndarray, classes: np.ndarray, class_names: Sequence[str], truths: Sequence[str]
) -> list[Panel]:
    titles = class_titles(classes, class_names, truths=truths)
    return [Panel(p, title=t) for p, t in zip(photos, titles, strict=True)]


def _signed(gradients: np.ndarray) -> list[Panel]:
    """The channel that is largest in size at each pixel, with its sign; each photo on its own."""
    where = np.abs(gradients).argmax(axis=-1)[..., None]
    values = np.take_along_axis(gradients, where, -1)[..., 0]
    largest = np.abs(values).max(axis=(1, 2), keepdims=True)
    return [Panel(v, SIGNED, (-1, 1)) for v in values / np.where(largest > 0, largest, 1)]
