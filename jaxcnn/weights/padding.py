"""A function run again with the windows of its strided operations placed otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, Literal

from jaxcnn.analysis.walk import inner_program
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

    def run(*flat: Any) -> list[Any]:
        return _run(program.jaxpr, program.consts, flat, operations, scheme)

    flat = jax.jit(run)(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shape), flat)


def _run(
    program: Jaxpr, consts: Sequence[Any], args: Sequence[Any], operations: Any, scheme: str
) -> list[Any]:
    values = dict(zip(program.constvars, consts, strict=True))
    values |= dict(zip(program.invars, args, strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else values[v]

    for eqn in program.eqns:
        inputs = [read(v) for v in eqn.invars]
        inner = inner_program(eqn)
        if inner is not None:
            outputs = _run(inner.jaxpr, inner.consts, inputs, operations, scheme)
        else:
            params = eqn.primitive.get_bind_params(eqn.params)
            if eqn.primitive.name in operations:
                params = params | _padding(eqn, inputs, scheme)
            outputs = eqn.primitive.bind(*inputs, **params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        values |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(v) for v in program.outvars]


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
