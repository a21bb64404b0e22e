"""What a network computes, as a graph of layers with their edges, from the traced program.

A module that is a layer (convolution, dense, BatchNorm) is one node, whatever equations it is
computed by; between modules a node is one operation: pooling, addition, concatenation, ReLU.
What has no name of its own here is a `function`: neighbouring equations of one module call.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from jax.extend.core import JaxprEqn, Literal

from jaxcnn.analysis import rows as rows_
from jaxcnn.analysis.rows import Row
from jaxcnn.analysis.rules import Field, shape_of
from jaxcnn.analysis.trace import Path, Trace, trace
from jaxcnn.analysis.walk import Value, walk
from jaxcnn.nn import BatchNorm, Conv

Intervals = tuple[tuple[int, int], ...]

# Modules that are one node each.
LAYERS: dict[type, str] = {
    Conv: "conv",
    nn.Conv: "conv",
    nn.Dense: "dense",
    BatchNorm: "batch norm",
    nn.BatchNorm: "batch norm",
}
POOLS = ("max pool", "average pool", "global average pool", "global max pool")
# Operations that change each value by itself, or not at all.
POINTWISE = ("batch norm", "relu", "tanh", "flatten")
_ALIASES = frozenset({"name", "convert_element_type", "copy", "stop_gradient"})
_SIMPLE = {"tanh": "tanh", "concatenate": "concat"}
_WINDOWS = {"reduce_window_max": "max pool", "reduce_window_sum": "average pool"}
_MEANS = {"reduce_sum": "global average pool", "reduce_max": "global max pool"}


@dataclasses.dataclass
class Node:
    """One step of the computation.

    `inputs` are the nodes that it reads, in order. `shape` is without the batch. `path` is the
    module call that it happens in. `rows` and `columns` are the first and last pixel of the image
    that each row and each column of units can see; one entry where all see the same. `place`
    is the equation that gives the value, by its number, and which of its outputs that is.
    """

    kind: str
    name: str
    inputs: list[int]
    shape: tuple[int, ...]
    path: Path
    place: tuple[int, int]
    rows: Intervals = ()
    columns: Intervals = ()
    row: Row | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    primitives: list[str] = dataclasses.field(default_factory=list)

    @property
    def params(self) -> int:
        return self.row.params if self.row else 0

    @property
    def macs(self) -> int:
        return self.row.macs if self.row else 0

    @property
    def activation_bytes(self) -> int:
        return self.row.activation_bytes if self.row else 0


@dataclasses.dataclass(frozen=True)
class Graph:
    """The nodes in the order in which the program runs them; the first is the image."""

    traced: Trace
    nodes: tuple[Node, ...]

    @property
    def readers(self) -> list[list[int]]:
        """For each node, the nodes that read it."""
        out: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in dict.fromkeys(node.inputs):
                out[source].append(index)
        return out


def build_graph(model: nn.Module, image_size: tuple[int, int], channels: int) -> Graph:
    """The graph of a network in inference mode, for one image; nothing is computed.

    Raises:
      TraceError: the network cannot be traced on such an image.
    """
    traced = trace(model, image_size, channels=channels)
    builder = _Builder(traced)
    walked = walk(traced, builder.observe)
    nodes = builder.finish()
    _give_rows(nodes, rows_.build(traced, walked))
    return Graph(traced, tuple(nodes))


class _Builder:
    """Follows the walk; knows for each value which node it belongs to."""

    def __init__(self, traced: Trace) -> None:
        self.traced = traced
        self.nodes = [Node("input", "input", [], tuple(traced.images.shape[1:]), (), (-1, 0))]
        height, width = traced.images.shape[1:3]
        self.nodes[0].rows = tuple((i, i) for i in range(height))
        self.nodes[0].columns = tuple((i, i) for i in range(width))
        self.place = -1
        self.owner: dict[int, int] = {}  # id of a value -> its node
        self.alive: list[Value] = []  # so that no id is used twice
        self.of_call: dict[int, int] = {}  # a layer's call -> its node
        self.merged: dict[int, int] = {}  # a function that became part of another

    def observe(self, eqn: JaxprEqn, values: list[Value], results: list[Value], scope: str) -> None:
        self.place += 1
        self.alive += [*values, *results]
        if all(r.field is None for r in results):
            return
        sources = [self._node(v) for v in values if v.field is not None]
        number = self._layer(eqn, sources, scope)
        if number is None:
            number = self._operation(eqn, values, list(dict.fromkeys(sources)), scope)
        node = self.nodes[number]
        if eqn.primitive.name not in _ALIASES or node.kind in LAYERS.values():
            # A loop carries its counter beside the maps.
            imaged = [k for k, result in enumerate(results) if result.field is not None]
            output = max(imaged, key=lambda k: len(shape_of(eqn.outvars[k])))
            node.place, node.shape = (self.place, output), shape_of(eqn.outvars[output])[1:]
            node.rows, node.columns = _intervals(results[output].field)
        for result in results:
            self.owner[id(result)] = number

    def _node(self, value: Value) -> int:
        # The image is the only value with a field that no equation gave.
        return self._root(self.owner.get(id(value), 0))

    def _add(self, kind: str, name: str, inputs: list[int], path: Path, **facts: Any) -> int:
        self.nodes.append(Node(kind, name, inputs, (), path, (self.place, 0), facts=facts))
        return len(self.nodes) - 1

    def _layer(self, eqn: JaxprEqn, sources: list[int], scope: str) -> int | None:
        """The node of the layer module that this equation is part of."""
        index = self.traced.call_of(scope)
        if index is None:
            return None
        call = self.traced.calls[self.traced.calls[index].owner]
        kind = LAYERS.get(type(call.module))
        if kind is None:
            return None
        if call.index not in self.of_call:
            facts = {}
            if kind == "batch norm":
                config = getattr(call.module, "config", call.module)
                facts["epsilon"] = config.epsilon
            inputs = list(dict.fromkeys(sources))
            self.of_call[call.index] = self._add(kind, call.name, inputs, call.path, **facts)
        return self.of_call[call.index]

    def _operation(self, eqn: JaxprEqn, values: list[Value], sources: list[int], scope: str) -> int:
        index = self.traced.call_of(scope)
        path = self.traced.calls[index].path if index is not None else ()
        primitive, first = eqn.primitive.name, self.nodes[sources[0]]
        aval: Any = eqn.outvars[0].aval
        shape = tuple(aval.shape[1:])
        if primitive in _ALIASES or (primitive == "reshape" and shape == first.shape):
            return sources[0]
        kind, facts = _kind(eqn, values, shape, len(sources))
        if kind == "mean" and first.kind in POOLS and "divisor" not in first.facts:
            first.facts["divisor"] = facts["divisor"]
            return sources[0]
        inside = kind in ("add", "tanh") and self._goes_on(sources, path)
        if kind in ("mean", "function") or inside:
            return self._function(eqn, sources, path)
        return self._add(kind, "", sources, path, **facts)

    def _goes_on(self, sources: list[int], path: Path) -> bool:
        """Whether all that an equation reads is a function of this call and what that one reads."""
        inner = [s for s in sources if self.nodes[s].kind == "function"]
        inner = [s for s in inner if self.nodes[s].path == path]
        known = [self._root(i) for s in inner for i in self.nodes[s].inputs]
        return bool(inner) and all(s in known for s in sources if s not in inner)

    def _function(self, eqn: JaxprEqn, sources: list[int], path: Path) -> int:
        """A new function, or the one of the same call that this equation goes on with."""
        if not self._goes_on(sources, path):
            number = self._add("function", "", sources, path)
        else:
            inner = [s for s in sources if self.nodes[s].kind == "function"]
            inner = [s for s in inner if self.nodes[s].path == path]
            number, rest = inner[-1], inner[:-1]
            known = [self._root(i) for s in inner for i in self.nodes[s].inputs]
            for other in rest:
                self.merged[other] = number
                self.nodes[number].primitives += self.nodes[other].primitives
            self.nodes[number].inputs = list(dict.fromkeys(known))
        self.nodes[number].primitives.append(eqn.primitive.name)
        return number

    def finish(self) -> list[Node]:
        """The nodes without those that were merged, named."""
        kept = [i for i in range(len(self.nodes)) if i not in self.merged]
        kept = _needed(self.nodes, kept)
        position = {old: new for new, old in enumerate(kept)}
        nodes = [self.nodes[i] for i in kept]
        for node in nodes:
            node.inputs = [position[self._root(i)] for i in node.inputs]
            if node.kind == "function":
                node.facts["label"] = _label(node.primitives)
        return nodes

    def _root(self, number: int) -> int:
        while number in self.merged:
            number = self.merged[number]
        return number


def _needed(nodes: list[Node], kept: list[int]) -> list[int]:
    """Only what the last node depends on: a sown copy or an unused value is no layer."""
    wanted, stack = {0}, [kept[-1]]
    while stack:
        number = stack.pop()
        if number not in wanted:
            wanted.add(number)
            stack += nodes[number].inputs
    return [i for i in kept if i in wanted]


def _kind(
    eqn: JaxprEqn, values: list[Value], shape: tuple[int, ...], sources: int
) -> tuple[str, dict[str, Any]]:
    """What an equation outside of layers is, and its numbers."""
    name, p = eqn.primitive.name, eqn.params
    given: Any = next(v for v, k in zip(eqn.invars, values, strict=True) if k.field is not None)
    before = tuple(given.aval.shape[1:])
    scalar = _scalar(eqn, values)
    if name in _SIMPLE and (name != "concatenate" or p["dimension"] == len(shape)):
        return _SIMPLE[name], {}
    if name == "max" and scalar == 0:
        return "relu", {}
    if name in ("add", "add_any") and sources == 2:
        return "add", {}
    if name in ("div", "mul") and scalar:
        return "mean", {"divisor": scalar if name == "div" else 1 / scalar}
    if name == "reshape" and len(before) == 3 and len(shape) == 1:
        return "flatten", {}
    if name in _WINDOWS and p["window_dimensions"][3:] == (1,) and len(before) == 3:
        return _WINDOWS[name], {}
    if name in _MEANS and len(before) == 3 and tuple(p["axes"]) == (1, 2):
        return _MEANS[name], {}
    if name == "slice" and len(before) == 3 and max(p["strides"] or (1,)) > 1:
        if not any(p["start_indices"]) and p["strides"][3] == 1:
            return "subsample", {"stride": list(p["strides"][1:3])}
    if name == "pad" and len(before) == 3 and not any(any(c) for c in p["padding_config"][:3]):
        low, high, inner = p["padding_config"][3]
        if not inner and min(low, high) >= 0 and scalar == 0:
            return "pad channels", {"low": low, "high": high}
    return "function", {}


def _scalar(eqn: JaxprEqn, values: list[Value]) -> float | None:
    """The constant operand of an equation of two, where it is one number."""
    for var, value in zip(eqn.invars, values, strict=True):
        if value.field is None and value.known is not None and np.size(value.known) == 1:
            return float(np.asarray(value.known).reshape(()))
        if value.field is None and _literal(var) is not None:
            return _literal(var)
    return None


def _literal(var: Any) -> float | None:
    return float(var.val) if isinstance(var, Literal) and np.ndim(var.val) == 0 else None


def _label(primitives: Sequence[str]) -> str:
    if "pow" in primitives and "reduce_window_sum" in primitives:
        return "local response norm"
    if {"slice", "reduce_sum"} <= set(primitives):
        return "adaptive average pool"
    return ", ".join(dict.fromkeys(primitives[:3])).replace("_", " ")


def _intervals(field: Field) -> tuple[Intervals, Intervals]:
    """For each row, then each column of units: first and last pixel of the image; -1 for none."""
    found = []
    for axis, span in enumerate(field or ()):
        dim = axis + 1
        others = tuple(d for d in range(span.low.ndim) if d != dim)
        if span.low.ndim < 4:
            others = tuple(range(span.low.ndim))
        low = np.atleast_1d(span.low.min(axis=others))
        high = np.atleast_1d(span.high.max(axis=others))
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        found.append(tuple((int(a), int(b)) if math.isfinite(a) else (-1, -1) for a, b in pairs))
    return found[0], found[1]


def _give_rows(nodes: list[Node], rows: Sequence[Row]) -> None:
    """Each row of the summary to its node: layers by name, pooling in the order of the program."""
    named = {row.name: row for row in rows}
    pools = iter([row for row in rows if row.kind in POOLS])
    nodes[0].row = rows[0]
    for node in nodes:
        if node.kind in LAYERS.values():
            node.row = named.get(node.name)
        elif node.kind in POOLS or any(p.startswith("reduce_window") for p in node.primitives):
            node.row = next((row for row in pools if row.output_shape[1:] == node.shape), None)
    seen: collections.Counter[str] = collections.Counter()
    for node in nodes:
        if node.kind in POOLS and node.row:
            node.name = node.row.name
        if not node.name:
            last = node.facts.get("label", node.kind).replace(" ", "_")
            name = "/".join([*node.path, last])
            seen[name] += 1
            node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
