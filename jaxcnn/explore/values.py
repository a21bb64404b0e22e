"""The values of a graph's nodes on given images, as the network itself computes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jaxcnn.analysis.walk import inner_program
from jaxcnn.explore.graph import Graph


def node_values(
    graph: Graph, variables: Any, nodes: Sequence[int]
) -> Callable[[Any], list[np.ndarray]]:
    """A function from one normalised image [1, H, W, C] to the values of `nodes`, no batch axis.

    It runs the very program that the graph was made of, compiled once.
    """
    places = {graph.nodes[i].place: n for n, i in enumerate(nodes)}
    program = graph.traced.program
    kept = {k: v for k, v in variables.items() if k != "intermediates"}

    @jax.jit
    def run(variables: Any, images: Any) -> list[Any]:
        found: dict[int, Any] = {-1: images}
        flat = jax.tree.leaves((variables, images, jax.random.key(0)))
        _run(program, flat, found, iter(range(10**9)), frozenset(places))
        return [found[place][0] for place in places]

    compiled = functools.partial(run, kept)
    return lambda images: [np.asarray(value) for value in compiled(images)]


def _run(
    closed: ClosedJaxpr, inputs: list[Any], found: dict[int, Any], counter: Any, wanted: Any
) -> list[Any]:
    """The program, equation by equation, numbered as the walk numbers them."""
    env: dict[Any, Any] = dict(zip(closed.jaxpr.invars, inputs, strict=True))
    env.update(zip(closed.jaxpr.constvars, closed.consts, strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, Literal) else env[var]

    for eqn in closed.jaxpr.eqns:
        values = [read(v) for v in eqn.invars]
        inner = inner_program(eqn)
        if inner is not None:
            results = _run(inner, values, found, counter, wanted)
        else:
            place = next(counter)
            out = eqn.primitive.bind(*values, **eqn.params)
            results = list(out) if eqn.primitive.multiple_results else [out]
            if place in wanted:
                found[place] = results[0]
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in closed.jaxpr.outvars]
