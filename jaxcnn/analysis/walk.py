"""One pass over a traced program: the layers it runs, and what every value depends on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcnn.analysis import fold, rules, spans
from jaxcnn.analysis.rules import Field
from jaxcnn.analysis.trace import Path, Trace

Pads = tuple[tuple[int, int], ...]
_POOLS = {
    "reduce_window_max": "max pool",
    "reduce_window_min": "min pool",
    "reduce_window_sum": "average pool",
    "reduce_window": "pool",
}
_GLOBAL = {"reduce_sum": "global average pool", "reduce_max": "global max pool"}
_CONTROL = frozenset({"scan", "while", "cond"})
_MOST_STEPS = 256


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of one value: its field, its constant, its parameters, its last layer.

    `trained` says whether any parameter is behind it, so that the backward pass goes through it.
    """

    field: Field = None
    known: np.ndarray | None = None
    params: frozenset[Path] = frozenset()
    layer: int | None = None
    trained: bool = False


@dataclasses.dataclass
class Operation:
    """One convolution, matrix product or pooling of the program."""

    kind: str
    call: int | None
    output_shape: tuple[int, ...]
    itemsize: int
    field: Field
    macs: int = 0
    backward_macs: int = 0
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    padding: Pads | None = None
    dilation: tuple[int, ...] | None = None
    groups: int = 1
    params: set[Path] = dataclasses.field(default_factory=set)


@dataclasses.dataclass
class Output:
    """The value that a module call returned."""

    call: int
    shape: tuple[int, ...]
    itemsize: int
    field: Field
    after: int


@dataclasses.dataclass
class Walk:
    """What the walk found: operations in program order, call outputs, taps, inexact primitives."""

    operations: list[Operation]
    outputs: dict[int, Output]
    taps: dict[str, Output]
    inexact: list[str]


# Told of each equation that is not a call: the equation, its inputs, its outputs, its scope.
Observer = Callable[[JaxprEqn, list[Value], list[Value], str], None]


def walk(trace: Trace, observe: Observer | None = None) -> Walk:
    """Carry spans through the program and collect its layers.

    `observe` follows the walk: a value's uses are the very object that its equation gave. A loop
    or a branch is one equation to it, like any primitive.
    """
    walker = _Walker(trace, observe)
    inputs = []
    for origin, var in zip(trace.origins, trace.program.jaxpr.invars, strict=True):
        if origin == ("image",):
            shape = rules.shape_of(var)
            inputs.append(Value(tuple(spans.image_span(4, d, shape[d]) for d in (1, 2))))
        else:
            inputs.append(Value(params=frozenset([origin]), trained=origin[0] == "params"))
    values = walker.run(trace.program, inputs, "", 1)
    taps = {}
    for name, value, var in zip(trace.taps, values, trace.program.jaxpr.outvars, strict=True):
        if name is not None:
            aval: Any = var.aval
            done = len(walker.operations)
            taps[name] = Output(-1, aval.shape, aval.dtype.itemsize, value.field, done)
    return Walk(walker.operations, walker.outputs, taps, sorted(walker.inexact))


class _Walker:
    def __init__(self, trace: Trace, observe: Observer | None = None) -> None:
        self.trace = trace
        self.observe = observe
        self.operations: list[Operation] = []
        self.outputs: dict[int, Output] = {}
        self.inexact: set[str] = set()
        self.silent = False

    def run(
        self, closed: ClosedJaxpr, inputs: Sequence[Value], scope: str, repeats: int
    ) -> list[Value]:
        jaxpr: Jaxpr = closed.jaxpr
        env: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        for var, const in zip(jaxpr.constvars, closed.consts, strict=True):
            small = isinstance(const, np.ndarray) and const.size <= fold.MOST_VALUES
            env[var] = Value(known=const if small else None)

        def read(var: Any) -> Value:
            return Value(known=fold.literal(var)) if isinstance(var, Literal) else env[var]

        for eqn in jaxpr.eqns:
            here = f"{scope}/{eqn.source_info.name_stack}"
            results = self._step(eqn, [read(v) for v in eqn.invars], here, repeats)
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _step(self, eqn: JaxprEqn, values: list[Value], scope: str, repeats: int) -> list[Value]:
        name = eqn.primitive.name
        if name in _CONTROL:
            observe, self.observe = self.observe, None
            results = getattr(self, f"_{name}")(eqn, values, scope, repeats)
            self.observe = observe
            return self._told(eqn, values, results, scope)
        inner = inner_program(eqn)
        if inner is not None:
            return self.run(inner, values, scope, repeats)
        fields, exact = rules.apply(eqn, [v.field for v in values], [v.known for v in values])
        if not exact or self._unknown_matrix(eqn, values):
            self.inexact.add(name)
        known = (
            None
            if any(f is not None for f in fields)
            else fold.fold(eqn, [v.known for v in values])
        )
        params = frozenset().union(*(v.params for v in values if v.field is None))
        layer = max((v.layer for v in values if v.layer is not None), default=None)
        if fields[0] is not None and not self.silent:
            layer = self._record(eqn, values, fields[0], scope, repeats, params, layer)
            params = frozenset()
        trained = any(v.trained for v in values)
        results = [Value(field, known, params, layer, trained) for field in fields]
        return self._told(eqn, values, results, scope)

    def _told(
        self, eqn: JaxprEqn, values: list[Value], results: list[Value], scope: str
    ) -> list[Value]:
        if self.observe is not None:
            self.observe(eqn, values, results, scope)
        return results

    def _unknown_matrix(self, eqn: JaxprEqn, values: list[Value]) -> bool:
        """A product with a computed matrix (resizing) may have zeros that nobody can see here."""
        if eqn.primitive.name not in ("dot_general", "conv_general_dilated"):
            return False
        return any(v.field is not None for v in values) and any(
            v.field is None and not v.params for v in values
        )

    def _record(
        self,
        eqn: JaxprEqn,
        values: list[Value],
        field: Field,
        scope: str,
        repeats: int,
        params: frozenset[Path],
        layer: int | None,
    ) -> int | None:
        call = self.trace.call_of(scope)
        aval: Any = eqn.outvars[0].aval
        if eqn.primitive.name == "name":
            marked = self.trace.output_of(eqn.params["name"])
            if marked is not None:
                done = len(self.operations)
                self.outputs[marked] = Output(marked, aval.shape, aval.dtype.itemsize, field, done)
            return layer
        facts = _facts(eqn, values)
        if facts is None:
            if layer is not None and params:
                self.operations[layer].params |= params
            return layer
        facts["macs"] = facts.get("macs", 0) * repeats
        # One product for each operand's gradient, where there is something to train behind it.
        facts["backward_macs"] = facts["macs"] * sum(v.trained for v in values[:2])
        operation = Operation(
            call=call,
            output_shape=tuple(aval.shape),
            itemsize=aval.dtype.itemsize,
            field=field,
            params=set(params),
            **facts,
        )
        self.operations.append(operation)
        return len(self.operations) - 1

    def _scan(self, eqn: JaxprEqn, values: list[Value], scope: str, repeats: int) -> list[Value]:
        p = eqn.params
        # Counted by rank, since jax 0.11 names these numbers otherwise than 0.10: what is
        # scanned over has one dimension more outside than inside.
        inside, length = p["jaxpr"], p["length"]
        carry = _equal_ranks(eqn.outvars, inside.out_avals)
        consts = _equal_ranks(eqn.invars, inside.in_avals) - carry
        fixed, state, rows = (
            values[:consts],
            values[consts : consts + carry],
            values[consts + carry :],
        )
        if length > _MOST_STEPS:
            return self._all(eqn, values)
        collected: list[list[Value]] = []
        silent = self.silent
        for i in range(length):
            row = length - 1 - i if p["reverse"] else i
            xs = [Value(_row(v.field, row), None, v.params, v.layer, v.trained) for v in rows]
            out = self.run(p["jaxpr"], [*fixed, *state, *xs], scope, repeats * length)
            state = out[:carry]
            collected.append(out[carry:])
            self.silent = True
        self.silent = silent
        if p["reverse"]:
            collected.reverse()
        stacked = [_stack([values[k] for values in collected]) for k in range(len(rows_out(eqn)))]
        return [*state, *stacked]

    def _while(self, eqn: JaxprEqn, values: list[Value], scope: str, repeats: int) -> list[Value]:
        return self._all(eqn, values)

    def _cond(self, eqn: JaxprEqn, values: list[Value], scope: str, repeats: int) -> list[Value]:
        """Depends on all branches; its layers are those of the branch with most multiply-adds."""
        before = list(self.operations)
        best: list[Operation] = []
        outs = []
        for branch in eqn.params["branches"]:
            self.operations = list(before)
            outs.append(self.run(branch, values[1:], scope, repeats))
            mine = self.operations[len(before) :]
            if sum(o.macs for o in mine) >= sum(o.macs for o in best):
                best = mine
        self.operations = before + best
        return [
            Value(
                rules.union([values[0].field, *(v.field for v in column)], len(rules.shape_of(var)))
            )
            for column, var in zip(zip(*outs, strict=True), eqn.outvars, strict=True)
        ]

    def _all(self, eqn: JaxprEqn, values: list[Value]) -> list[Value]:
        """Every output depends on every input: an upper bound."""
        if all(v.field is None for v in values):
            return [Value() for _ in eqn.outvars]
        self.inexact.add(eqn.primitive.name)
        ndims = [len(rules.shape_of(v)) for v in eqn.outvars]
        return [Value(f) for f in rules.everything([v.field for v in values], ndims)]


def _equal_ranks(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    return sum(a.aval.ndim == b.ndim for a, b in zip(outside, inside, strict=True))


def rows_out(eqn: JaxprEqn) -> Sequence[Any]:
    """The stacked outputs of a scan."""
    return eqn.outvars[_equal_ranks(eqn.outvars, eqn.params["jaxpr"].out_avals) :]


def _row(field: Field, row: int) -> Field:
    if field is None:
        return None
    return tuple(spans.reduce(spans.take(s, 0, row, 1), [0]) for s in field)


def _stack(values: list[Value]) -> Value:
    if all(v.field is None for v in values):
        return Value(params=frozenset().union(*(v.params for v in values)))
    lifted = [
        None
        if v.field is None
        else tuple(spans.insert(s, len(s.steps) + 1, range(1, len(s.steps) + 1)) for s in v.field)
        for v in values
    ]
    return Value(rules.lay(lifted, [1] * len(values), 0), layer=values[-1].layer)


def inner_program(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The program that a call-like equation (jit, remat, custom derivative) runs once."""
    if eqn.primitive.name in _CONTROL:  # A loop that carries all looks like a call.
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = eqn.params.get(key)
        if isinstance(inner, Jaxpr):
            inner = ClosedJaxpr(inner, ())
        if isinstance(inner, ClosedJaxpr) and len(inner.jaxpr.invars) == len(eqn.invars):
            same = len(inner.jaxpr.outvars) == len(eqn.outvars)
            if same and not eqn.primitive.name.startswith("reduce"):
                return inner
    return None


def _facts(eqn: JaxprEqn, values: list[Value]) -> dict[str, Any] | None:
    name, p = eqn.primitive.name, eqn.params
    out = rules.shape_of(eqn.outvars[0])
    shapes = [rules.shape_of(v) for v in eqn.invars]
    if name == "conv_general_dilated":
        numbers, groups = p["dimension_numbers"], p["feature_group_count"]
        kernel = tuple(shapes[1][d] for d in numbers.rhs_spec[2:])
        transposed = any(d != 1 for d in p["lhs_dilation"])
        features, inputs = (shapes[1][d] for d in numbers.rhs_spec[:2])
        # A transposed convolution multiplies each input once by each kernel element.
        each = math.prod(shapes[0]) * features // groups if transposed else math.prod(out) * inputs
        return {
            "kind": "transposed conv" if transposed else "conv",
            "macs": each * math.prod(kernel),
            "kernel": kernel,
            "stride": tuple(p["lhs_dilation"] if transposed else p["window_strides"]),
            "padding": tuple((int(a), int(b)) for a, b in p["padding"]),
            "dilation": tuple(p["rhs_dilation"]),
            "groups": groups,
        }
    if name == "dot_general":
        (contract, _), _ = p["dimension_numbers"]
        macs = math.prod(out) * math.prod(shapes[0][d] for d in contract)
        both = all(v.field is not None for v in values)
        return {"kind": "matrix product" if both else "dense", "macs": macs}
    if name in _POOLS:
        dims = _spatial(values[0].field)
        return {
            "kind": _POOLS[name],
            "kernel": tuple(p["window_dimensions"][d] for d in dims),
            "stride": tuple(p["window_strides"][d] for d in dims),
            "padding": tuple(tuple(int(n) for n in p["padding"][d]) for d in dims),
            "dilation": tuple(p["window_dilation"][d] for d in dims),
        }
    if name in _GLOBAL and values[0].field is not None and len(shapes[0]) > 2:
        dims = _spatial(values[0].field)
        if dims and all(d in p["axes"] for d in dims) and 0 not in p["axes"]:
            return {"kind": _GLOBAL[name], "kernel": tuple(shapes[0][d] for d in dims)}
    return None


def _spatial(field: Field) -> list[int]:
    """The dimensions along which the units move over the image."""
    steps = zip(*(span.steps for span in field or ()), strict=True)
    return [dim for dim, moves in enumerate(steps) if any(moves)]
