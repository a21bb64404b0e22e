"""A network on a batch of images as a program whose layers can be looked at by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxcnn.analysis.rules import shape_of
from jaxcnn.analysis.trace import Trace, mode_arguments, trace
from jaxcnn.models.taps import spatial_tap
from jaxcnn.visualize.interpret import Interpreter, Place, Unary, origin, places


class NotApplicable(ValueError):
    """A kind of picture that a network cannot have, such as Grad-CAM without a convolution."""


class Program:
    """A network with its weights, traced for images of one shape, in inference mode.

    `taps` are the names that the network sows, `modules` the paths of its modules, whose outputs
    can be asked for as well; `layers` are both. `shapes` gives each one's shape.

    Args:
      model: any Linen module that gives logits [B, classes].
      variables: its variables.
      images: [B, H, W, C], normalised; only the shape matters here.
      call_args: further arguments of the module's call.

    Raises:
      TraceError: the module cannot be traced on such images.
      ValueError: the weights do not fit images of this size or number of channels.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: Any,
        images: Any,
        *,
        call_args: Mapping[str, Any] | None = None,
    ) -> None:
        shape = np.shape(images)
        if len(shape) != 4 or 0 in shape:
            raise ValueError(f"images of shape {list(shape)}: a batch [B, H, W, C] is needed.")
        self.model = model
        self.image_shape = shape
        batch, height, width, channels = shape
        self._call_args = call_args or {}
        self._trace = trace(
            model, (height, width), channels=channels, batch_size=batch, call_args=call_args
        )
        self.weights = _flat_weights(self._trace, variables)
        self._places, self.shapes, taps = _layers(self._trace)
        self.taps = tuple(name for name in _order(model, taps))
        self.modules = tuple(name for name in self._places if name not in taps)
        self.layers = (*self.taps, *self.modules)

    def run(
        self,
        weights: Sequence[Any],
        images: Any,
        *,
        capture: Sequence[str] = (),
        shift: Mapping[str, Any] | None = None,
        relu: Unary | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The logits, and the values of the layers named in `capture`; a pure function.

        Args:
          weights: `self.weights`, or others of the same shapes.
          images: float, of the shape that was traced.
          capture: names of layers.
          shift: by name, what is added to a layer's output before the rest of the network.
          relu: a function in place of every ReLU, such as one with another gradient.

        Raises:
          ValueError: for a name that is not there.
          NotApplicable: the network has no ReLU to replace.
        """
        wanted = {name: self._place(name) for name in capture}
        added = {self._place(name): value for name, value in (shift or {}).items()}
        interpreter = Interpreter(frozenset(wanted.values()), added, relu)
        outputs = interpreter.run(self._trace.program, self._inputs(weights, images))
        if relu is not None and not interpreter.replaced:
            raise NotApplicable(
                f"{type(self.model).__name__} has no ReLU, whose gradient guided backpropagation "
                "changes; use saliency instead."
            )
        values = {name: interpreter.found[place] for name, place in wanted.items()}
        return self._logits(outputs), values

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a layer's output; raises ValueError for an unknown name."""
        self._place(name)
        return self.shapes[name]

    def named_weights(self) -> list[tuple[tuple[str, ...], Any]]:
        """The weights with their paths, in the order of `weights`."""
        origins = [o for o in self._trace.origins if len(o) > 1]
        return list(zip(origins, self.weights, strict=True))

    def has_relu(self) -> bool:
        """Whether there is a ReLU whose gradient could be changed."""
        interpreter = Interpreter(relu=lambda x: jnp.maximum(x, 0))
        jax.eval_shape(lambda *flat: interpreter.run(self._trace.program, flat), *self._inputs())
        return interpreter.replaced > 0

    def cam_layer(self) -> str:
        """The last layer with an extent in space, which class activation maps look at.

        The tap that the registry names where the network declares its taps; else the output of
        the last convolution.

        Raises:
          NotApplicable: the network has no convolution.
        """
        declared = spatial_tap(getattr(self.model, "taps", ()))
        if declared is not None:
            return declared
        for name, _ in reversed(self.convolutions()):
            if name in self._places:
                return name
        where = " outside of its loops" if self.convolutions() else ""
        raise NotApplicable(
            f"{type(self.model).__name__} has no convolution{where}, so there is no map for "
            "Grad-CAM to weigh; saliency and occlusion work for any network."
        )

    def kernels(self) -> list[tuple[str, Any]]:
        """Module paths and their `kernel` parameters, in the order in which they first run."""
        found = {
            path[1:-1]: weight
            for path, weight in self.named_weights()
            if path[0] == "params" and path[-1] == "kernel"
        }
        paths = dict.fromkeys(call.path for call in self._trace.calls if call.path in found)
        return [("/".join(path), found[path]) for path in paths]

    def convolutions(self) -> list[tuple[str, Any]]:
        """Those of `kernels` that are [h, w, C, F]."""
        return [(name, kernel) for name, kernel in self.kernels() if kernel.ndim == 4]

    def blocks(self) -> list[str]:
        """The outermost modules that have weights, in the order in which they first run."""
        have = {path[1] for path, _ in self.named_weights()}
        called = [call.path[0] for call in self._trace.calls if call.path and call.path[0] in have]
        return list(dict.fromkeys([*called, *sorted(have)]))

    def initial_weights(self, seed: int) -> list[Any]:
        """Weights as the modules draw them before training, in the order of `weights`."""
        drawn = initial_variables(self.model, self.image_shape[1:], seed, self._call_args)
        return _flat_weights(self._trace, drawn)

    def _inputs(self, weights: Sequence[Any] = (), images: Any = None) -> list[Any]:
        """The program's flat inputs, by default those that it was made with."""
        given = iter(weights or self.weights)
        images = self._trace.images if images is None else images
        return [
            images if o == ("image",) else jax.random.key(0) if o == ("key",) else next(given)
            for o in self._trace.origins
        ]

    def _logits(self, outputs: Sequence[Any]) -> jax.Array:
        logits = outputs[0]
        count = len(jax.tree.leaves(self._trace.output))
        if count != 1 or logits.ndim != 2 or logits.shape[0] != self.image_shape[0]:
            found = [list(leaf.shape) for leaf in jax.tree.leaves(self._trace.output)]
            raise ValueError(
                f"{type(self.model).__name__} gives {found}; one array of logits [B, classes] is "
                "needed."
            )
        return logits

    def _place(self, name: str) -> Place:
        if name in self._places:
            return self._places[name]
        raise ValueError(self.unknown(name, self.layers, "layer or tap"))

    def unknown(self, name: str, known: Sequence[str], kind: str) -> str:
        """What is said of a name that is not there, with the nearest that are."""
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"there are {listed}."
        return f"{type(self.model).__name__} has no {kind} {name!r}; {hint}"


def initial_variables(
    model: nn.Module,
    image_shape: Sequence[int],
    seed: int,
    call_args: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A module's variables before training, for images of `[H, W, C]`, without what it sows."""
    arguments = {**mode_arguments(model, train=False), **(call_args or {})}
    keys = dict(zip(("params", "dropout"), jax.random.split(jax.random.key(seed)), strict=True))
    images = jnp.zeros((1, *image_shape))
    drawn = jax.jit(lambda: model.init(keys, images, **arguments))()
    return {name: value for name, value in drawn.items() if name != "intermediates"}


def choose_classes(logits: Any, classes: Any = None) -> np.ndarray:
    """Which logit is explained, int [B]: the largest, or the one given for all or for each image.

    Raises:
      ValueError: a class that the network does not have.
    """
    batch, count = logits.shape
    if classes is None:
        return np.asarray(jnp.argmax(logits, -1))
    chosen = np.broadcast_to(np.asarray(classes, int), (batch,))
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(f"class {classes} is not one of the network's {count}: 0..{count - 1}.")
    return chosen


def _flat_weights(traced: Trace, variables: Any) -> list[Any]:
    """The variables in the order of the program, checked against what it needs."""
    given = traverse_util.flatten_dict(nn.meta.unbox(dict(variables)))
    images = traced.images.shape
    what = f"images of {images[1]}x{images[2]}x{images[3]}"
    flat = []
    for name in traced.origins:
        if len(name) < 2:
            continue
        label, needed = "/".join(name), list(traced.shapes[name].shape)
        if name not in given:
            raise ValueError(
                f"The variables have no {label}, which {type(traced.model).__name__} needs; give "
                "all collections: {'params': ..., 'batch_stats': ...}."
            )
        if list(np.shape(given[name])) != needed:
            raise ValueError(
                f"The weights do not fit {what}: {label} is {list(np.shape(given[name]))} and such "
                f"images need {needed}. Give images of the size and channels that it was trained "
                "on."
            )
        flat.append(jnp.asarray(given[name], traced.shapes[name].dtype))
    return flat


def _layers(traced: Trace) -> tuple[dict[str, Place], dict[str, tuple[int, ...]], set[str]]:
    """The places and shapes of taps and modules by name, and which names are taps."""
    found: dict[str, Place] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for at, eqn in places(traced.program):
        call = traced.output_of(eqn.params["name"]) if eqn.primitive.name == "name" else None
        if call is not None and traced.calls[call].path:
            found[traced.calls[call].name] = (*at, 0)
            shapes[traced.calls[call].name] = shape_of(eqn.outvars[0])
    taps = set()
    for position, tap in enumerate(traced.taps):
        place = origin(traced.program, position) if tap is not None else None
        if tap is None or place is None:
            continue
        # A tap and a module may share a name; the tap is what the author chose to show.
        found[tap] = place
        shapes[tap] = shape_of(traced.program.jaxpr.outvars[position])
        taps.add(tap)
    return found, shapes, taps


def _order(model: nn.Module, taps: set[str]) -> list[str]:
    """Taps as the network declares them, then the others by name."""
    declared = [tap.name for tap in getattr(model, "taps", ()) if tap.name in taps]
    return declared + sorted(taps - set(declared))
