"""A traced program run again, equation by equation, for what changes or keeps some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from jaxcnn.analysis.walk import inner_program

# The outputs of an equation that calls no other program, for its inputs.
Step = Callable[[JaxprEqn, list[Any]], Sequence[Any]]


def rerun(closed: ClosedJaxpr, inputs: Sequence[Any], step: Step) -> list[Any]:
    """The outputs of a program for flat inputs; calls are opened, a loop or a branch is one step.

    The steps come in the order in which `walk` tells its observer of them.
    """
    jaxpr = closed.jaxpr
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    env.update(zip(jaxpr.invars, inputs, strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, Literal) else env[var]

    for eqn in jaxpr.eqns:
        values = [read(v) for v in eqn.invars]
        inner = inner_program(eqn)
        outputs = step(eqn, values) if inner is None else rerun(inner, values, step)
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def bind(
    eqn: JaxprEqn, values: Sequence[Any], params: dict[str, Any] | None = None
) -> Sequence[Any]:
    """What an equation gives for other values, and with other parameters."""
    bound = eqn.primitive.get_bind_params(eqn.params if params is None else params)
    # Older and newer versions of jax differ in whether functions are taken out of the parameters.
    functions, named = bound if isinstance(bound, tuple) else ((), bound)
    outputs = eqn.primitive.bind(*functions, *values, **named)
    return outputs if eqn.primitive.multiple_results else [outputs]
