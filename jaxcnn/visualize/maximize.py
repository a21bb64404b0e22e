"""The input that a unit answers to most."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.preprocess import Preprocess
from jaxcnn.visualize.canvas import Panel, Row, draw_grid
from jaxcnn.visualize.maps import spatial_layers
from jaxcnn.visualize.program import Program

# Smoothing is a step of the heat equation, which is stable up to a quarter in two dimensions.
_STABLE = 0.25


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How a picture is climbed to.

    Attributes:
      steps: of gradient ascent.
      rate: length of a step, in normalised units per pixel (root mean square).
      decay: share of the contrast that each step takes away (an L2 penalty; Simonyan et al.
        2013, section 2).
      smoothness: weight of the total variation, the squared differences between neighbouring
        pixels (Mahendran and Vedaldi 2015, section 3).
      jitter: each step sees the picture rolled by up to so many pixels in both directions
        (Mordvintsev et al. 2015), so that no pixel has a place of its own; None: a sixteenth of
        the shorter side.
      seed: of the noise it starts from and the jitter.

    In the first quarter of the steps a ReLU that is off lets through what would turn it on, so
    that a unit that the noise does not excite can be reached.
    """

    steps: int = 200
    rate: float = 0.1
    decay: float = 0.01
    smoothness: float = 1.0
    jitter: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rate <= 0:
            raise ValueError(f"steps={self.steps}, rate={self.rate}: both must be positive.")
        if not 0 <= self.decay < 1 or self.smoothness < 0 or (self.jitter or 0) < 0:
            raise ValueError(
                f"decay={self.decay} must lie in [0, 1), smoothness={self.smoothness} and "
                f"jitter={self.jitter} must not be negative."
            )
        if self.rate * self.smoothness > _STABLE:
            raise ValueError(
                f"rate={self.rate} times smoothness={self.smoothness} is more than {_STABLE}: the "
                "smoothing would overshoot and roughen; lower one of them."
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
    channels: Sequence[int] | np.ndarray,
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
      model: any Linen module that gives logits.
      variables: its variables.
      preprocess: size, channels, mean and deviation of the network's images.
      channels: of the layer, or classes.
      layer: a tap or a module; the logits by default.
      unit: row and column of the unit; the channel's mean over space by default.
      ascent: length and regularisation.
      call_args: further arguments of the module's call.

    Raises:
      ValueError: an unknown layer, a channel or unit that is not there; as `grad_cam`.
    """
    chosen = np.asarray(channels, int)
    shape = (len(chosen), *preprocess.image_size, preprocess.channels)
    program = Program(model, variables, jnp.zeros(shape), call_args=call_args)
    climb = _climb(_goal(program, layer, chosen, unit), preprocess, ascent)
    # One noise for all, so that what differs between the pictures comes from the network.
    pixels = jnp.broadcast_to(_noise(preprocess, ascent.seed), shape)
    last, before, after = climb(program.weights, pixels)
    last = last * jnp.asarray(preprocess.std) + jnp.asarray(preprocess.mean)
    return MaximizeResult(
        layer="logits" if layer is None else layer,
        channels=chosen,
        pixels=np.asarray(jnp.clip(last, 0, 1)),
        before=np.asarray(before),
        after=np.asarray(after),
    )


def _climb(goal: Any, preprocess: Preprocess, ascent: Ascent) -> Callable[..., Any]:
    """A compiled function (weights, pixels) -> (pixels, values before, values after)."""
    jitter = min(preprocess.image_size) // 16 if ascent.jitter is None else ascent.jitter
    mean = jnp.asarray(preprocess.mean, jnp.float32)
    std = jnp.asarray(preprocess.std, jnp.float32)
    low, high = (0 - mean) / std, (1 - mean) / std
    gray = (0.5 - mean) / std

    @jax.jit
    def climb(weights: Any, pixels: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def score(x: jax.Array, early: Any = 0.0) -> tuple[jax.Array, jax.Array]:
            values = goal(weights, x, early)
            return values.sum(), values

        def step(x: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            key, early = now
            shift = jax.random.randint(key, (2,), -jitter, jitter + 1)
            rolled = jnp.roll(x, shift, axis=(1, 2))
            upward = jnp.roll(jax.grad(score, has_aux=True)(rolled, early)[0], -shift, axis=(1, 2))
            size = jnp.sqrt(jnp.mean(upward**2, axis=(1, 2, 3), keepdims=True))
            move = upward / (size + 1e-12) - ascent.smoothness * jax.grad(_variation)(x)
            x = gray + (1 - ascent.decay) * (x + ascent.rate * move - gray)
            return jnp.clip(x, low, high), None

        keys = jax.random.split(jax.random.key(ascent.seed + 1), ascent.steps)
        early = (jnp.arange(ascent.steps) < ascent.steps // 4).astype(jnp.float32)
        last, _ = jax.lax.scan(step, pixels, (keys, early))
        return last, score(pixels)[1], score(last)[1]

    return climb


def maximize_stages(
    model: nn.Module,
    variables: Any,
    preprocess: Preprocess,
    layers: Sequence[str] | None = None,
    *,
    count: int = 6,
    ascent: Ascent = Ascent(),
    call_args: Mapping[str, Any] | None = None,
) -> list[MaximizeResult]:
    """`maximize` for channels spread evenly over each layer, by default each tap's in space."""
    shape = (1, *preprocess.image_size, preprocess.channels)
    program = Program(model, variables, np.empty(shape), call_args=call_args)
    results = []
    for name in layers or spatial_layers(program):
        total = program.shape(name)[-1]
        chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
        results.append(
            maximize(
                model,
                variables,
                preprocess,
                chosen,
                layer=name,
                ascent=ascent,
                call_args=call_args,
            )
        )
    return results


def _goal(program: Program, layer: str | None, chosen: np.ndarray, unit: Any) -> Any:
    """A function (weights, images [n, ...], early) -> the i-th channel's value of image i, [n]."""
    relu = redirected_relu if program.has_relu() else None
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

    def goal(weights: Any, images: jax.Array, early: Any) -> jax.Array:
        logits, values = program.run(
            weights,
            images,
            capture=[layer] if layer else [],
            relu=relu and (lambda x: relu(x, early)),
        )
        value = values[layer] if layer else logits
        mine = value[rows, ..., chosen]
        if unit is not None:
            return mine[:, unit[0], unit[1]]
        return mine.reshape(len(chosen), -1).mean(axis=1)

    return goal


@jax.custom_vjp
def redirected_relu(x: jax.Array, early: jax.Array) -> jax.Array:
    """max(x, 0); where it is off, `early` = 1 lets through the gradient that turns it on."""
    return jnp.maximum(x, 0)


def _redirected_forward(x: jax.Array, early: jax.Array) -> tuple[jax.Array, Any]:
    return jnp.maximum(x, 0), (x > 0, early)


def _redirected_backward(saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    on, early = saved
    return jnp.where(on, gradient, early * jnp.maximum(gradient, 0)), jnp.zeros_like(early)


redirected_relu.defvjp(_redirected_forward, _redirected_backward)


def _noise(preprocess: Preprocess, seed: int) -> jax.Array:
    """Gray with a little noise, normalised, [H, W, C]."""
    shape = (*preprocess.image_size, preprocess.channels)
    pixels = 0.5 + 0.05 * jax.random.normal(jax.random.key(seed), shape)
    return (pixels - jnp.asarray(preprocess.mean)) / jnp.asarray(preprocess.std)


def _variation(x: jax.Array) -> jax.Array:
    """Half the sum of squared differences between neighbours, whose gradient is per pixel."""
    down, right = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    return 0.5 * ((down**2).sum() + (right**2).sum())


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
        title=f"{title}: the input that each {what} answers to most\n(gradient ascent; its value "
        "for the noise at the start \N{RIGHTWARDS ARROW} for this picture)",
    )


def draw_units(results: Sequence[MaximizeResult], path: pathlib.Path, *, title: str = "") -> None:
    """A row for each layer, from the input to the output."""
    rows = [
        Row(
            result.layer,
            [
                Panel(p, title=f"channel {c}", note="" if rose else "stays off")
                for c, p, rose in zip(
                    result.channels, result.pixels, result.after > result.before, strict=True
                )
            ],
        )
        for result in results
    ]
    draw_grid(
        rows,
        path,
        title=f"{title}: the inputs that channels of each layer answer to most\n(gradient ascent "
        "from gray noise)",
        side=1.6,
    )
