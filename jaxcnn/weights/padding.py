"""A function run again with the windows of its strided operations placed otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import JaxprEqn

from jaxcnn.analysis.rerun import bind, rerun
from jaxcnn.nn import fast_forms

_CONV = "conv_general_dilated"
_POOLS = ("reduce_window_max", "reduce_window_sum", "reduce_window")
# What the operations pad in other libraries: which primitives, and how.
WINDOWS: dict[str, tuple[tuple[str, ...], str]] = {
    "SAME padding of strided convolutions and poolings (TensorFlow's and Flax's default)": (
        (_CONV, *_POOLS),
        "SAME",
    ),
    "SAME padding of strided convolutions": ((_CONV,), "SAME"),
    "SAME padding of strided poolings": (_POOLS, "SAME"),
    "no padding": ((_CONV, *_POOLS), "VALID"),
}


def repadded(
    function: Callable[..., Any], operations: Sequence[str], scheme: str, *args: Any
) -> Any:
    """`function(*args)` with `scheme` (SAME or VALID) in place of the padding of some operations.

    SAME changes strided operations only, which PyTorch pads evenly and TensorFlow puts the odd
    zero behind; VALID takes the padding from all.

    Raises:
      TypeError, ValueError: where the shapes no longer fit each other.
    """
    with fast_forms(False):  # whose windows have no names here
        program, shape = jax.make_jaxpr(function, return_shape=True)(*args)

    def step(eqn: JaxprEqn, inputs: Sequence[Any]) -> Sequence[Any]:
        changed = _padding(eqn, inputs, scheme) if eqn.primitive.name in operations else {}
        return bind(eqn, inputs, eqn.params | changed)

    flat = jax.jit(lambda *flat: rerun(program, flat, step))(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shape), flat)


def _padding(eqn: Any, inputs: Sequence[Any], scheme: str) -> dict[str, Any]:
    x = inputs[0]
    if eqn.primitive.name == _CONV:
        strides, numbers = eqn.params["window_strides"], eqn.params["dimension_numbers"]
        sizes = [x.shape[d] for d in numbers.lhs_spec[2:]]
        dilation = eqn.params["rhs_dilation"]
        kernel = [inputs[1].shape[d] for d in numbers.rhs_spec[2:]]
        window = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    else:
        strides, sizes = eqn.params["window_strides"], x.shape
        window = eqn.params["window_dimensions"]
    if scheme == "SAME" and max(strides) == 1:
        return {}
    return {"padding": tuple(jax.lax.padtype_to_pads(sizes, window, strides, scheme))}
