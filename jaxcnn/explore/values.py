"""The values of a graph's nodes on given images, as the network itself computes them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import JaxprEqn

from jaxcnn.analysis.rerun import bind, rerun
from jaxcnn.explore.graph import Graph


def node_values(
    graph: Graph, variables: Any, nodes: Sequence[int]
) -> Callable[[Any], list[np.ndarray]]:
    """A function from one normalised image [1, H, W, C] to the values of `nodes`, no batch axis.

    It runs the very program that the graph was made of, compiled once.
    """
    places = [graph.nodes[i].place for i in nodes]
    program = graph.traced.program
    kept = {k: v for k, v in variables.items() if k != "intermediates"}

    @jax.jit
    def run(variables: Any, images: Any) -> list[Any]:
        found: dict[tuple[int, int], Any] = {(-1, 0): images}
        flat = jax.tree.leaves((variables, images, jax.random.key(0)))
        count = itertools.count()

        def step(eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
            outputs = bind(eqn, values)
            number = next(count)
            found.update({(number, k): output for k, output in enumerate(outputs)})
            return outputs

        rerun(program, flat, step)
        return [found[place][0] for place in places]

    compiled = functools.partial(run, kept)
    return lambda images: [np.asarray(value) for value in compiled(images)]
