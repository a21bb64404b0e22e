"""Runs a traced program again with something changed: a value shifted, or ReLU's gradient.

A layer is a place in the program, so that any module works: nothing of it has to be rewritten. The
shift is zero, and the gradient for it is the gradient at that place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from jaxcnn.analysis.rerun import bind
from jaxcnn.analysis.walk import inner_program

# The equation's place in each program on the way down to it, then which of its outputs.
Place = tuple[int, ...]
Unary = Callable[[jax.Array], jax.Array]

_ONCE = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint")
_LOOPS = ("scan", "while", "cond")


@dataclasses.dataclass
class Interpreter:
    """Evaluates a program.

    Attributes:
      capture: places whose values are kept in `found`.
      shift: what is added to the values at some places.
      relu: takes the place of every ReLU, or None; `replaced` counts them.
    """

    capture: frozenset[Place] = frozenset()
    shift: Mapping[Place, jax.Array] = dataclasses.field(default_factory=dict)
    relu: Unary | None = None
    found: dict[Place, jax.Array] = dataclasses.field(default_factory=dict)
    replaced: int = 0

    def run(self, closed: ClosedJaxpr, inputs: Sequence[Any], at: Place = ()) -> list[Any]:
        """The outputs of a program for flat inputs."""
        jaxpr = closed.jaxpr
        env: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(jaxpr.invars, inputs, strict=True))

        def read(var: Any) -> Any:
            return var.val if isinstance(var, Literal) else env[var]

        for index, eqn in enumerate(jaxpr.eqns):
            values = [read(v) for v in eqn.invars]
            outputs = self._step(eqn, values, (*at, index))
            for k, (var, value) in enumerate(zip(eqn.outvars, outputs, strict=True)):
                env[var] = self._visit((*at, index, k), value)
        return [read(v) for v in jaxpr.outvars]

    def _visit(self, place: Place, value: Any) -> Any:
        if place in self.shift:
            value = value + self.shift[place].astype(value.dtype)
        if place in self.capture:
            self.found[place] = value
        return value

    def _step(self, eqn: JaxprEqn, values: list[Any], at: Place) -> Sequence[Any]:
        name = eqn.primitive.name
        inner = inner_program(eqn)
        if inner is not None and name in _ONCE:
            return self.run(inner, values, at)
        if self.relu is None:
            return bind(eqn, values)
        if inner is not None and is_relu(inner):
            self.replaced += 1
            return [self.relu(values[0])]
        if inner is not None:  # a derivative of the author's own hides what is inside: open it
            return self.run(inner, values, at) if _has_relu(inner) else bind(eqn, values)
        if name == "max" and (k := _operand_beside_zero(eqn)) is not None:
            self.replaced += 1
            return [self.relu(values[k])]
        if name in _LOOPS:
            return bind(eqn, values, {k: self._rewritten(v) for k, v in eqn.params.items()})
        return bind(eqn, values)

    def _rewritten(self, param: Any) -> Any:
        """A loop's parameter with the programs in it rewritten."""
        if isinstance(param, tuple) and param and isinstance(param[0], ClosedJaxpr):
            return tuple(self._rewritten(p) for p in param)
        if not isinstance(param, ClosedJaxpr):
            return param
        inside = Interpreter(relu=self.relu)
        shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in param.in_avals]
        rewritten = jax.make_jaxpr(lambda *args: inside.run(param, args))(*shapes)
        self.replaced += inside.replaced
        return rewritten


def places(closed: ClosedJaxpr, at: Place = ()) -> Iterator[tuple[Place, JaxprEqn]]:
    """Every equation that runs exactly once, with its place, calls before what is in them."""
    for index, eqn in enumerate(closed.jaxpr.eqns):
        yield (*at, index), eqn
        inner = inner_program(eqn)
        if inner is not None and eqn.primitive.name in _ONCE:
            yield from places(inner, (*at, index))


def origin(closed: ClosedJaxpr, position: int, at: Place = ()) -> Place | None:
    """The place at which output `position` is computed, as far inside calls as it can be followed.

    What a block with recomputation sows is used inside of the block: a shift of what the block
    gives out would miss those uses. None for an input or a constant.
    """
    var = closed.jaxpr.outvars[position]
    for index, eqn in enumerate(closed.jaxpr.eqns):
        if var in eqn.outvars:
            k = eqn.outvars.index(var)
            inner = inner_program(eqn)
            if inner is not None and eqn.primitive.name in _ONCE:
                deeper = origin(inner, k, (*at, index))
                if deeper is not None:
                    return deeper
            return (*at, index, k)
    return None


def is_relu(closed: ClosedJaxpr) -> bool:
    """Whether a program is max(x, 0) and nothing else, as `jax.nn.relu` is."""
    jaxpr = closed.jaxpr
    if len(jaxpr.eqns) != 1 or len(jaxpr.invars) != 1 or len(jaxpr.outvars) != 1:
        return False
    eqn = jaxpr.eqns[0]
    if eqn.outvars[0] is not jaxpr.outvars[0]:
        return False
    inner = inner_program(eqn)
    if inner is not None:
        return is_relu(inner)
    return eqn.primitive.name == "max" and _operand_beside_zero(eqn) is not None


def _has_relu(closed: ClosedJaxpr) -> bool:
    for eqn in closed.jaxpr.eqns:
        inner = inner_program(eqn)
        if inner is not None and _has_relu(inner):
            return True
        if eqn.primitive.name == "max" and _operand_beside_zero(eqn) is not None:
            return True
    return False


def _operand_beside_zero(eqn: JaxprEqn) -> int | None:
    """Which operand of a maximum is an image's value, where the other is the number 0."""
    for k, var in enumerate(eqn.invars):
        if isinstance(var, Literal) and np.ndim(var.val) == 0 and float(var.val) == 0.0:
            other: Any = eqn.invars[1 - k]
            if not isinstance(other, Literal) and jnp.issubdtype(other.aval.dtype, jnp.floating):
                return 1 - k
    return None
