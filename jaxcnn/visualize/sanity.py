"""Does a picture depend on the weights at all? (Adebayo et al. 2018, "Sanity checks")"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.visualize.cam import cam_function
from jaxcnn.visualize.canvas import AMOUNT, GRAY, LINES, Panel, new_figure, quiet, save
from jaxcnn.visualize.program import Program, choose_classes
from jaxcnn.visualize.saliency import gradient_function, guided_relu

Method = Literal["grad_cam", "saliency", "guided_backprop"]
METHODS: tuple[Method, ...] = get_args(Method)
Maps = Callable[[Sequence[Any]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class RandomizationResult:
    """Maps of a network whose layers lose their training one after another.

    Attributes:
      method: a name of `METHODS`.
      layers: the randomised ones, the one nearest to the output first; step i has drawn the first
        i anew, so that step 0 is the trained network and the last one is wholly random.
      maps: float [steps + 1, B, H, W].
      correlations: float [steps + 1, B], Spearman's rank correlation with the trained network's
        map; 1 in step 0. It is 0 where a map is the same everywhere.
      classes: int [B], what the trained network predicted and every map is for.
    """

    method: str
    layers: tuple[str, ...]
    maps: np.ndarray
    correlations: np.ndarray
    classes: np.ndarray


def randomization_check(
    model: nn.Module,
    variables: Any,
    images: Any,
    *,
    method: Method = "grad_cam",
    classes: int | Sequence[int] | None = None,
    layer: str | None = None,
    order: Literal["cascading", "full"] = "cascading",
    seed: int = 0,
    call_args: Mapping[str, Any] | None = None,
) -> RandomizationResult:
    """Draw the layers anew from the output down, and compare the maps (Adebayo et al., 3.1).

    A picture of what the network has learned must change with it: one that keeps a high rank
    correlation when nothing learned is left shows the photo's edges, not the network.

    Args:
      model: any Linen module that gives logits [B, classes].
      variables: its variables.
      images: float [B, H, W, C], normalised.
      method: the kind of picture. Gradients are compared by their largest absolute value over
        channels, Grad-CAM on its own grid.
      classes: one for all images or one for each; the predicted ones by default.
      layer: for Grad-CAM; its default.
      order: cascading, or only all layers at once.
      seed: of the new weights, which the modules' own initialisers draw, statistics included.
      call_args: further arguments of the module's call.

    Raises:
      ValueError: an unknown method; as the method itself.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: there are {', '.join(METHODS)}.")
    program = Program(model, variables, images, call_args=call_args)
    return check_method(
        program, images, method, program.initial_weights(seed), classes, layer, order
    )


def check_method(
    program: Program,
    images: Any,
    method: Method,
    drawn: Sequence[Any],
    classes: Any = None,
    layer: str | None = None,
    order: Literal["cascading", "full"] = "cascading",
) -> RandomizationResult:
    """`randomization_check` for a network that is traced already, with given new weights."""
    images = jnp.asarray(images, jnp.float32)
    logits = jax.jit(lambda w, x: program.run(w, x)[0])(program.weights, images)
    chosen = choose_classes(logits, classes)
    layers = program.blocks()[::-1]
    steps = [frozenset(layers[:n]) for n in range(len(layers) + 1)]
    if order == "full":
        steps, layers = [steps[0], steps[-1]], ["all layers"]
    maps_of = _method(program, method, images, chosen, layer)
    maps = []
    for randomized in steps:
        pairs = zip(program.named_weights(), drawn, strict=True)
        maps.append(maps_of([new if name[1] in randomized else w for (name, w), new in pairs]))
    correlations = [
        [rank_correlation(a, b) for a, b in zip(maps[0], later, strict=True)] for later in maps
    ]
    return RandomizationResult(
        method, tuple(layers), np.stack(maps), np.array(correlations), chosen
    )


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two maps, ties sharing their mean rank; 0 for a flat map."""
    from scipy.stats import rankdata  # Importing it takes most of a second.

    first, second = rankdata(a), rankdata(b)
    first, second = first - first.mean(), second - second.mean()
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / norm) if norm else 0.0


def _method(
    program: Program, method: Method, images: jax.Array, classes: np.ndarray, layer: str | None
) -> Maps:
    if method == "grad_cam":
        cam = cam_function(program, program.cam_layer() if layer is None else layer)
        return lambda weights: np.asarray(cam(weights, images, jnp.asarray(classes)))
    gradient = gradient_function(program, guided_relu if method == "guided_backprop" else None)
    return lambda weights: np.abs(gradient(weights, images, classes)[2]).max(axis=-1)


def draw_randomization(
    photo: np.ndarray,
    results: Sequence[RandomizationResult],
    path: pathlib.Path,
    *,
    title: str = "",
) -> None:
    """Correlations by how much is random, above the maps of the first photo, uint8 [H, W, C]."""
    steps = len(results[0].maps)
    shown = np.unique(np.linspace(0, steps - 1, min(steps, 6)).round().astype(int))
    figure = new_figure(11, 3.9 + 1.55 * len(results))
    above, below = figure.subfigures(2, 1, height_ratios=[3.3, 1.55 * len(results)], squeeze=False)[
        :, 0
    ]
    axes = above.subplots()
    for result, color in zip(results, LINES, strict=False):
        mean = result.correlations.mean(axis=1)
        axes.plot(range(steps), mean, "o-", ms=4, color=color, label=_LABELS[result.method])
    axes.axhline(0, color=GRAY, linewidth=0.8)
    lowest = min(float(result.correlations.mean(axis=1).min()) for result in results)
    axes.set_ylim(min(-0.1, lowest - 0.05), 1.05)
    names = ["none", *results[0].layers]
    axes.set_xticks(range(steps), names, rotation=35, ha="right", fontsize=8)
    axes.set_xlabel("drawn anew: this layer and all after it")
    axes.set_ylabel("rank correlation with\nthe trained network's map")
    axes.legend(frameon=False)
    quiet(axes)
    grid = below.subplots(len(results), len(shown) + 1, squeeze=False)
    for line, result in zip(grid, results, strict=True):
        for panel in line:
            panel.set_axis_off()
        Panel(photo).draw(line[0])
        line[0].set_title("photo", fontsize=9)
        for panel, step in zip(line[1:], shown, strict=True):
            values = result.maps[step, 0]
            Panel(values / (values.max() or 1), AMOUNT, (0, 1)).draw(panel)
            panel.set_title("trained" if step == 0 else f"from {names[step]}", fontsize=9)
        line[0].text(
            *(-0.12, 0.5, _LABELS[result.method]),
            transform=line[0].transAxes,
            rotation=90,
            ha="center",
            va="center",
            fontsize=10,
        )
    count = len(results[0].classes)
    figure.suptitle(
        f"{title}: does the picture know what the network learned? "
        f"(mean of {count} photo{'s' * (count > 1)})",
        fontweight="bold",
        fontsize=13,
    )
    save(figure, path)


_LABELS = {
    "grad_cam": "Grad-CAM",
    "saliency": "saliency",
    "guided_backprop": "guided backprop",
}
