"""The input that a unit answers to most."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.preprocess import Preprocess
from jaxcnn.visualize.canvas import Panel, Row, draw_grid
from jaxcnn.visualize.program import Program


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How a picture is climbed to.

    Attributes:
      steps: of gradient ascent.
      rate: length of a step, in normalised units per pixel (root mean square).
      decay: share of the contrast that each step takes away (an L2 penalty; Simonyan et al.
        2013, section 2).
      smoothness: weight of the total variation, the mean squared difference between neighbouring
        pixels (Mahendran and Vedaldi 2015, section 3).
      jitter: each step sees the picture rolled by up to so many pixels in both directions
        (Mordvintsev et al. 2015), so that no pixel has a place of its own.
      seed: of the noise it starts from and the jitter.
    """

    steps: int = 200
    rate: float = 0.1
    decay: float = 0.01
    smoothness: float = 1.0
    jitter: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rate <= 0:
            raise ValueError(f"steps={self.steps}, rate={self.rate}: both must be positive.")
        if not 0 <= self.decay < 1 or self.smoothness < 0 or self.jitter < 0:
            raise ValueError(
                f"decay={self.decay} must lie in [0, 1), smoothness={self.smoothness} and "
                f"jitter={self.jitter} must not be negative."
            )


@dataclasses.dataclass(frozen=True)
class MaximizeResult:
    """Pictures made for some channels.

    Attributes:
      layer: whose channels, or "logits".
      channels: int [n].
      pixels: float [n, H, W, C] in [0, 1].
      before, after: float [n], what is maximised, for the noise and for the picture.
    """

    layer: str
    channels: np.ndarray
    pixels: np.ndarray
    before: np.ndarray
    after: np.ndarray


def maximize(
    model: nn.Module,
    variables: Any,
    preprocess: Preprocess,
    channels: Sequence[int],
    *,
    layer: str | None = None,
    unit: tuple[int, int] | None = None,
    ascent: Ascent = Ascent(),
    call_args: Mapping[str, Any] | None = None,
) -> MaximizeResult:
    """Inputs that maximise channels of a layer, or logits, by gradient ascent from gray noise.

    The gradient is divided by its root mean square, less that of the total variation; pixels stay
    within what a photo can have. Equal arguments give equal pictures.

    Args:
      model, variables, call_args: as for `grad_cam`.
      preprocess: size, channels, mean and deviation of the network's images.
      channels: of the layer, or classes.
      layer: a tap or a module; the logits by default.
      unit: row and column of the unit; the channel's mean over space by default.
      ascent: length and regularisation.

    Raises:
      ValueError: an unknown layer, a channel or unit that is not there; as `grad_cam`.
    """
    chosen = np.asarray(channels, int)
    shape = (len(chosen), *preprocess.image_size, preprocess.channels)
    program = Program(model, variables, jnp.zeros(shape), call_args=call_args)
    goal = _goal(program, layer, chosen, unit)
    mean = jnp.asarray(preprocess.mean, jnp.float32)
    std = jnp.asarray(preprocess.std, jnp.float32)
    start, key = jax.random.split(jax.random.key(ascent.seed))
    # One noise for all, so that what differs between the pictures comes from the network.
    noise = 0.5 + 0.05 * jax.random.normal(start, shape[1:])
    pixels = jnp.broadcast_to((noise - mean) / std, shape)
    low, high = (0 - mean) / std, (1 - mean) / std
    gray = (0.5 - mean) / std

    @jax.jit
    def climb(weights: Any, pixels: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def score(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            values = goal(weights, x)
            return values.sum(), values

        def step(x: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            shift = jax.random.randint(key, (2,), -ascent.jitter, ascent.jitter + 1)
            rolled = jnp.roll(x, shift, axis=(1, 2))
            upward = jnp.roll(jax.grad(score, has_aux=True)(rolled)[0], -shift, axis=(1, 2))
            size = jnp.sqrt(jnp.mean(upward**2, axis=(1, 2, 3), keepdims=True))
            move = upward / (size + 1e-12) - ascent.smoothness * jax.grad(_variation)(x)
            x = gray + (1 - ascent.decay) * (x + ascent.rate * move - gray)
            return jnp.clip(x, low, high), None

        last, _ = jax.lax.scan(step, pixels, jax.random.split(key, ascent.steps))
        return last, score(pixels)[1], score(last)[1]

    last, before, after = climb(program.weights, pixels)
    return MaximizeResult(
        layer="logits" if layer is None else layer,
        channels=chosen,
        pixels=np.asarray(jnp.clip(last * std + mean, 0, 1)),
        before=np.asarray(before),
        after=np.asarray(after),
    )


def _goal(program: Program, layer: str | None, chosen: np.ndarray, unit: Any) -> Any:
    """A function (weights, images [n, ...]) -> the i-th channel's value of image i, [n]."""
    rows = np.arange(len(chosen))
    if layer is None:
        shape = jax.eval_shape(
            lambda w: program.run(w, jnp.zeros(program.image_shape))[0], program.weights
        ).shape
    else:
        shape = program.shape(layer)
    name = "the logits" if layer is None else f"layer {layer!r}"
    if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= shape[-1]:
        raise ValueError(f"channels {chosen.tolist()} of {name}: there are 0..{shape[-1] - 1}.")
    if unit is not None and (
        len(shape) != 4 or any(not 0 <= u < n for u, n in zip(unit, shape[1:3], strict=True))
    ):
        raise ValueError(f"unit {unit} is not in {name}: its shape is {list(shape[1:])}.")

    def goal(weights: Any, images: jax.Array) -> jax.Array:
        logits, values = program.run(weights, images, capture=[layer] if layer else [])
        value = values[layer] if layer else logits
        mine = value[rows, ..., chosen]
        if unit is not None:
            return mine[:, unit[0], unit[1]]
        return mine.reshape(len(chosen), -1).mean(axis=1)

    return goal


def _variation(x: jax.Array) -> jax.Array:
    """Half the sum of squared differences between neighbours, whose gradient is per pixel."""
    return (
        0.5 * ((x[:, 1:] - x[:, :-1]) ** 2).sum() + 0.5 * ((x[:, :, 1:] - x[:, :, :-1]) ** 2).sum()
    )


def draw_maximized(
    result: MaximizeResult,
    path: pathlib.Path,
    *,
    class_names: Sequence[str] = (),
    title: str = "",
) -> None:
    """The pictures, each with its channel or class and how far its value rose."""
    columns = min(5, len(result.channels))
    panels = []
    for channel, pixels, before, after in zip(
        result.channels, result.pixels, result.before, result.after, strict=True
    ):
        named = result.layer == "logits" and class_names
        name = class_names[channel] if named else f"channel {channel}"
        panels.append(Panel(pixels, title=f"{name}\n{before:.1f} \N{RIGHTWARDS ARROW} {after:.1f}"))
    rows = [Row("", panels[i : i + columns]) for i in range(0, len(panels), columns)]
    what = "class" if result.layer == "logits" else f"channel of {result.layer}"
    draw_grid(
        rows,
        path,
        title=f"{title}: the input that each {what} answers to most\n(gradient ascent; its value for "
        "the noise at the start \N{RIGHTWARDS ARROW} for this picture)",
    )
