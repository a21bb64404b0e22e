"""Small constants of a traced program, such as the indices of a gather, computed with numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn, Literal

Constant = np.ndarray[Any, Any]
MOST_VALUES = 100_000

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "div": lambda a, b: np.trunc(a / b) if a.dtype.kind in "iu" else a / b,
    "floor": np.floor,
    "ge": np.greater_equal,
    "lt": np.less,
    "mul": np.multiply,
    "select_n": lambda which, a, b: np.where(which, b, a),
    "sub": np.subtract,
}


def literal(var: Any) -> Constant | None:
    """The value of a literal operand; None for a variable."""
    return np.asarray(var.val) if isinstance(var, Literal) else None


def fold(eqn: JaxprEqn, known: Sequence[Constant | None]) -> Constant | None:
    """The value that an equation gives for known operands; None where that is not simple."""
    aval: Any = eqn.outvars[0].aval
    values = [k for k in known if k is not None]
    if len(values) < len(known) or math.prod(getattr(aval, "shape", ())) > MOST_VALUES:
        return None
    out = _evaluate(eqn.primitive.name, eqn.params, aval.shape, values)
    return None if out is None else np.asarray(out).astype(aval.dtype)


def _evaluate(
    name: str, params: dict[str, Any], shape: tuple[int, ...], values: list[Constant]
) -> Constant | None:
    if name == "iota":
        sides = [-1 if d == params["dimension"] else 1 for d in range(len(shape))]
        return np.broadcast_to(np.arange(shape[params["dimension"]]).reshape(sides), shape)
    if name == "convert_element_type":
        return values[0]
    if name in ("reshape", "squeeze"):
        return values[0].reshape(shape)
    if name == "broadcast_in_dim":
        sides = [1] * len(shape)
        for size, dim in zip(values[0].shape, params["broadcast_dimensions"], strict=True):
            sides[dim] = size
        return np.broadcast_to(values[0].reshape(sides), shape)
    return _ARITHMETIC[name](*values) if name in _ARITHMETIC else None
