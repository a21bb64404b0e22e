"""A Linen module as a traced program in which every equation knows the module call it came from.

Nothing is allocated or computed: parameters, images and keys are shapes. Each module call is
wrapped in a named scope with a number, which the equations carry with them through jit, remat and
scan, and its outputs are marked by an identity operation that shows up in the program.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr

from jaxcnn.analysis.arithmetic import WHOLE
from jaxcnn.nn import fast_forms

Path = tuple[str, ...]
_SERIAL = itertools.count()
_MARK = "jaxcnn{serial}"

# What a module's __call__ may name its switch between training and inference: value in training.
_MODES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


class TraceError(ValueError):
    """The module cannot be traced on the given images."""


@dataclasses.dataclass
class Call:
    """One call of one module's method while tracing.

    `owner` is the index of the outermost call of the same module around it: itself, unless a
    method calls another one of its own.
    """

    index: int
    owner: int
    path: Path
    module: nn.Module
    method: str
    inputs: tuple[tuple[int, ...], ...]
    leaf: bool = True

    @property
    def name(self) -> str:
        return "/".join(self.path)


@dataclasses.dataclass(frozen=True)
class Trace:
    """The program of one forward pass.

    `origins[i]` says what input i of the program is: ("params", "conv1", "kernel"), ("image",) or
    ("key",). `taps[i]` names output i where it is a sown intermediate.
    """

    model: nn.Module
    program: ClosedJaxpr
    calls: list[Call]
    origins: list[Path]
    taps: list[str | None]
    shapes: dict[Path, jax.ShapeDtypeStruct]
    images: jax.ShapeDtypeStruct
    output: Any
    mark: str

    def call_of(self, scope: str) -> int | None:
        """The innermost module call named in a scope."""
        found = re.findall(rf"{self.mark}_call_(\d+)", scope)
        return int(found[-1]) if found else None

    def output_of(self, name: str) -> int | None:
        """The call whose output a marking operation marks."""
        found = re.fullmatch(rf"{self.mark}_out_(\d+)", name)
        return int(found[1]) if found else None


def trace(
    model: nn.Module,
    image_size: int | tuple[int, int],
    *,
    channels: int = 3,
    batch_size: int = 1,
    train: bool = False,
    call_args: Mapping[str, Any] | None = None,
) -> Trace:
    """Trace one forward pass on float32 images [batch, height, width, channels].

    The keyword that switches training on or off (one of `train`, `training`, `is_training`,
    `deterministic`, `use_running_average`) is set where the module's `__call__` has one;
    `call_args` are passed on top. Raises TraceError with the module that failed.
    """
    images = image_struct(image_size, channels, batch_size)
    arguments = {**mode_arguments(model, train=train), **(call_args or {})}
    variables, key = abstract_variables(model, images, arguments)
    mark = _MARK.format(serial=next(_SERIAL))
    calls: list[Call] = []

    def forward(variables: Any, images: Any, key: Any) -> Any:
        rngs = {"dropout": key, "params": key}
        # The rules know JAX's own operations, so layers show themselves as those.
        with fast_forms(False), nn.intercept_methods(_interceptor(mark, calls)):
            return model.apply(variables, images, rngs=rngs, mutable=True, **arguments)

    program, output = _guard(
        model,
        images,
        arguments,
        lambda: jax.make_jaxpr(forward, return_shape=True)(variables, images, key),
    )
    _close_parents(calls)
    flat = jax.tree_util.tree_flatten_with_path((variables, images, key))[0]
    heads = ("", "image", "key")
    origins = [_names(path[1:]) if path[0].idx == 0 else (heads[path[0].idx],) for path, _ in flat]
    leaves = jax.tree_util.tree_flatten_with_path(output)[0]
    result = Trace(
        model=model,
        program=program,
        calls=calls,
        origins=origins,
        taps=_tap_names([_names(path) for path, _ in leaves]),
        shapes={origins[i]: leaf for i, (_, leaf) in enumerate(flat) if len(origins[i]) > 1},
        images=images,
        output=output[0],
        mark=mark,
    )
    return result


def image_struct(
    image_size: int | tuple[int, int], channels: int, batch_size: int
) -> jax.ShapeDtypeStruct:
    """The shape of a batch of images, its numbers checked."""
    pair = (image_size, image_size) if isinstance(image_size, WHOLE) else tuple(image_size)
    if len(pair) != 2:
        raise ValueError(f"image_size={image_size!r}: give one number, or (height, width).")
    for name, value in (
        ("image_size", min(pair)),
        ("channels", channels),
        ("batch_size", batch_size),
    ):
        if value < 1:
            raise ValueError(f"{name}={value} cannot work: it must be at least 1.")
    return jax.ShapeDtypeStruct((batch_size, *pair, channels), jnp.float32)


def mode_arguments(model: nn.Module, *, train: bool) -> dict[str, Any]:
    """The keywords by which this module is told to train or not."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{model!r} is not a flax.linen module; give an instance, or a name of "
            "jaxcnn.list_models()."
        )
    known = inspect.signature(type(model).__call__).parameters
    return {name: value == train for name, value in _MODES.items() if name in known}


def abstract_variables(
    model: nn.Module, images: jax.ShapeDtypeStruct, arguments: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Shapes of the variables, without the sown ones, and of a random key."""
    key = jax.eval_shape(lambda: jax.random.key(0))

    def init(key: Any, images: Any) -> Any:
        return model.init({"params": key, "dropout": key}, images, **arguments)

    variables = _guard(model, images, arguments, lambda: jax.eval_shape(init, key, images))
    return {k: v for k, v in variables.items() if k != "intermediates"}, key


def _interceptor(mark: str, calls: list[Call]) -> Callable[..., Any]:
    active: list[Call] = []

    def intercept(run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "setup":
            return run(*args, **kwargs)
        inputs = tuple(tuple(a.shape) for a in jax.tree.leaves((args, kwargs)) if _is_array(a))
        index, path = len(calls), context.module.path
        owner = active[-1].owner if active and active[-1].path == path else index
        call = Call(index, owner, path, context.module, context.method_name, inputs)
        calls.append(call)
        active.append(call)
        with jax.named_scope(f"{mark}_call_{index}"):
            out = run(*args, **kwargs)
        active.pop()
        name = f"{mark}_out_{index}"
        return jax.tree.map(lambda a: checkpoint_name(a, name) if _is_array(a) else a, out)

    return intercept


def _close_parents(calls: list[Call]) -> None:
    """A call is a leaf unless some other module's path goes on from its own."""
    inner = {path[:n] for path in (c.path for c in calls) for n in range(len(path))}
    for call in calls:
        call.leaf = call.path not in inner


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.number)


def _without_pixels(*values: Any) -> bool:
    """What a function between modules leaves is seen as the next one's input."""
    return any(_is_array(a) and 0 in a.shape for a in jax.tree.leaves(values))


def _names(path: Any) -> Path:
    return tuple(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)


def _tap_names(paths: list[Path]) -> list[str | None]:
    """'stage1' for the output sown as intermediates/stage1/0; 'stage1/1' for a second value."""
    names: list[str | None] = []
    for path in paths:
        if len(path) > 3 and path[:2] == ("1", "intermediates"):
            names.append("/".join(path[2:-1] if path[-1] == "0" else path[2:]))
        else:
            names.append(None)
    return names


def _guard(
    model: nn.Module,
    images: jax.ShapeDtypeStruct,
    arguments: Mapping[str, Any],
    run: Callable[[], Any],
) -> Any:
    """Run a trace; a failure becomes one TraceError that names the module and a size that fits."""
    stack: list[str] = []
    failed: list[str] = []

    def watch(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        stack.append("/".join(context.module.path) or type(context.module).__name__)
        try:
            out = call(*args, **kwargs)
        except Exception:
            failed.extend(stack if not failed else ())
            raise
        if _without_pixels(args, out):
            failed.extend(stack if not failed else ())
            raise ValueError("nothing is left of the image here: a map has no pixels.")
        stack.pop()
        return out

    try:
        with nn.intercept_methods(watch):
            return run()
    except Exception as error:
        shape = list(images.shape)
        where = f" in {failed[-1]!r}" if failed and failed[-1] != type(model).__name__ else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) < 400 else reason[:400] + "..."
        raise TraceError(
            f"{type(model).__name__} cannot be traced on images {shape}{where}: {reason} "
            f"{_remedy(model, images, arguments)}"
        ) from error


def _remedy(model: nn.Module, images: jax.ShapeDtypeStruct, arguments: Mapping[str, Any]) -> str:
    """The smallest larger square image that works, if the size is what is wrong."""
    batch, height, width, channels = images.shape
    key = jax.eval_shape(lambda: jax.random.key(0))

    def works(size: int) -> bool:
        struct = jax.ShapeDtypeStruct((batch, size, size, channels), images.dtype)
        try:
            jax.eval_shape(lambda k, x: _strictly(model, arguments, k, x), key, struct)
        except Exception:
            return False
        return True

    low = max(height, width)
    high = next((s for s in (2**n for n in range(3, 11)) if s > low and works(s)), None)
    if high is None:
        return "(Larger square images fail too: the module or its arguments are the cause.)"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return f"Use images of at least {high}x{high}."


def _strictly(model: nn.Module, arguments: Mapping[str, Any], key: Any, images: Any) -> Any:
    """One call of the model in which a map without pixels is an error."""

    def refuse(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        out = call(*args, **kwargs)
        if _without_pixels(args, out):
            raise ValueError("no pixels")
        return out

    with nn.intercept_methods(refuse):
        rngs = {"params": key, "dropout": key}
        return model.init_with_output(rngs, images, mutable=True, **arguments)
