"""How each primitive of a traced program carries spans from its inputs to its outputs.

A field is what one value depends on: one span for each axis of the image, or None for a value that
depends on no pixel. A rule either gives exact fields or raises `Bound`, and the walker then falls
back to the union over everything, which can only be too large, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from jaxcnn.analysis import spans
from jaxcnn.analysis.spans import Span

Field = tuple[Span, ...] | None
Known = Sequence[np.ndarray | None]
Rule = Callable[[JaxprEqn, Sequence[Field], Known], list[Field]]


class Bound(Exception):
    """The rule cannot give the exact field; the union over everything is an upper bound."""


# One output of the same shape, element by element; scalars broadcast.
ELEMENTWISE = frozenset(
    """abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e
    bitcast_convert_type cbrt ceil clamp clz complex conj convert_element_type copy copy_p cos cosh
    digamma div eq eq_to erf erf_inv erfc exp exp2 expm1 floor ge gt igamma igammac imag integer_pow
    is_finite le le_to lgamma log log1p logistic lt lt_to max min mul mulhi name ne neg nextafter
    not or polygamma population_count pow pvary real reduce_precision rem reshard round rsqrt
    select_n sharding_constraint shift_left shift_right_arithmetic shift_right_logical sign sin sinh
    sqrt square stop_gradient sub tan tanh xor zeta""".split()
)
ONE_TO_ONE = frozenset({"optimization_barrier", "device_put"})
REDUCTIONS = frozenset(
    """argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum
    reduce_xor""".split()
)


def apply(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> tuple[list[Field], bool]:
    """The fields of the outputs and whether they are exact."""
    if all(field is None for field in fields):
        return [None] * len(eqn.outvars), True
    if any(0 in shape_of(var) for var in (*eqn.invars, *eqn.outvars)):
        return [None] * len(eqn.outvars), True
    name = eqn.primitive.name
    try:
        if name in ELEMENTWISE:
            return [_elementwise(fields, len(shape_of(eqn.outvars[0])))], True
        if name in ONE_TO_ONE:
            return list(fields), True
        if name in REDUCTIONS:
            axes = eqn.params["axes"]
            return [_each(fields, lambda s: spans.reduce(s, axes))], True
        if name in RULES:
            return RULES[name](eqn, fields, known), True
    except Bound:
        pass
    return everything(fields, [len(shape_of(var)) for var in eqn.outvars]), False


def everything(fields: Sequence[Field], ndims: Sequence[int]) -> list[Field]:
    """Every element of every output depends on all that the inputs depend on."""
    whole = [_each([f], lambda s: spans.reduce(s, range(len(s.steps)))) for f in fields if f]
    union = _elementwise(whole, 0)
    return [_each([union], lambda s, n=n: spans.broadcast(s, n, (), ())) for n in ndims]


def _elementwise(fields: Sequence[Field], ndim: int) -> Field:
    some = [f for f in fields if f is not None]
    lifted = [
        tuple(s if len(s.steps) == ndim else spans.broadcast(s, ndim, (), ()) for s in f)
        for f in some
    ]
    return tuple(spans.join(column) for column in zip(*lifted, strict=True))


def union(fields: Sequence[Field], ndim: int) -> Field:
    """The union of fields of one shape; None where none depends on a pixel."""
    return _elementwise(fields, ndim) if any(f is not None for f in fields) else None


def _each(fields: Sequence[Field], change: Callable[..., Span]) -> Field:
    field = fields[0]
    return None if field is None else tuple(change(s) for s in field)


def shape_of(var: Any) -> tuple[int, ...]:
    """The shape of a variable or literal; () where it has none."""
    return tuple(getattr(var.aval, "shape", ()))


def _windows(
    field: tuple[Span, ...],
    dims: Sequence[int],
    sizes: Sequence[int],
    outs: Sequence[int],
    geometry: Sequence[tuple[int, int, int, tuple[int, int], int]],
) -> tuple[Span, ...]:
    """Padded sliding windows (kernel, stride, dilation, padding, base dilation) over `dims`."""
    now = list(field)
    for dim, size, out, (kernel, stride, dilation, (low, high), base) in zip(
        dims, sizes, outs, geometry, strict=True
    ):
        now = spans.pad(now, dim, size, low, high, base - 1)
        now = [spans.window(s, dim, kernel, stride, dilation, out) for s in now]
    return tuple(now)


def _conv(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    field, kernel = fields
    p, numbers = eqn.params, eqn.params["dimension_numbers"]
    if field is None or kernel is not None or p["batch_group_count"] != 1:
        raise Bound
    shape, filters = shape_of(eqn.invars[0]), shape_of(eqn.invars[1])
    # To batch, channels, space; then the windows; then to the output's own order.
    moved = tuple(spans.transpose(s, numbers.lhs_spec) for s in field)
    out = shape_of(eqn.outvars[0])
    count = len(shape) - 2
    geometry = list(
        zip(
            [filters[d] for d in numbers.rhs_spec[2:]],
            p["window_strides"],
            p["rhs_dilation"],
            p["padding"],
            p["lhs_dilation"],
            strict=True,
        )
    )
    sizes = [shape[d] for d in numbers.lhs_spec[2:]]
    outs = [out[d] for d in numbers.out_spec[2:]]
    moved = _windows(moved, range(2, 2 + count), sizes, outs, geometry)
    features = filters[numbers.rhs_spec[0]]
    moved = tuple(spans.mix_channels(s, 1, p["feature_group_count"], features) for s in moved)
    back = [numbers.out_spec.index(d) for d in range(len(shape))]
    return [tuple(spans.transpose(s, back) for s in moved)]


def _reduce_window(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    p, field = eqn.params, fields[0]
    if field is None or len(eqn.outvars) != 1:
        raise Bound
    geometry = list(
        zip(
            p["window_dimensions"],
            p["window_strides"],
            p["window_dilation"],
            p["padding"],
            p["base_dilation"],
            strict=True,
        )
    )
    shape, out = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    dims = [d for d, g in enumerate(geometry) if g != (1, 1, 1, (0, 0), 1)]
    sizes, outs = [shape[d] for d in dims], [out[d] for d in dims]
    return [_windows(field, dims, sizes, outs, [geometry[d] for d in dims])]


def _dot(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    (contract, batch) = eqn.params["dimension_numbers"]
    ndim = len(shape_of(eqn.outvars[0]))
    placed: list[Field] = []
    frees = [
        [d for d in range(len(shape_of(v))) if d not in c and d not in b]
        for v, c, b in zip(eqn.invars, contract, batch, strict=True)
    ]
    starts = (len(batch[0]), len(batch[0]) + len(frees[0]))
    for field, dims, kept, free, start in zip(fields, contract, batch, frees, starts, strict=True):
        if field is None:
            continue
        targets = [*range(len(kept)), *range(start, start + len(free))]
        order = [*kept, *free]
        spread = [
            spans.insert(
                spans.reduce(spans.transpose(s, [*order, *dims]), range(len(order), len(s.steps))),
                ndim,
                targets,
            )
            for s in field
        ]
        placed.append(tuple(spread))
    return [_elementwise(placed, ndim)]


def _pad(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    if fields[1] is not None or fields[0] is None:
        raise Bound
    now = list(fields[0])
    for dim, (low, high, inner) in enumerate(eqn.params["padding_config"]):
        if low or high or inner:
            size = shape_of(eqn.invars[0])[dim]
            now = spans.pad(now, dim, size, int(low), int(high), int(inner))
    return [tuple(now)]


def _take(field: Field, starts: Sequence[int], counts: Sequence[int], steps: Any = None) -> Field:
    now = field
    for dim, (start, count) in enumerate(zip(starts, counts, strict=True)):
        stride = 1 if steps is None else steps[dim]
        now = _each([now], lambda s, d=dim, a=start, n=count, k=stride: spans.take(s, d, a, n, k))
    return now


def _slice(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    p = eqn.params
    return [_take(fields[0], p["start_indices"], shape_of(eqn.outvars[0]), p["strides"])]


def _dynamic_slice(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    shape, counts = shape_of(eqn.invars[0]), eqn.params["slice_sizes"]
    if any(f is not None for f in fields[1:]):
        raise Bound
    starts = []
    for size, count, index in zip(shape, counts, known[1:], strict=True):
        if index is None and size != count:
            raise Bound
        starts.append(0 if index is None else int(np.clip(int(index), 0, size - count)))
    return [_take(fields[0], starts, counts)]


def _gather(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    numbers, field, index = eqn.params["dimension_numbers"], fields[0], known[1]
    shape, indices = shape_of(eqn.invars[0]), shape_of(eqn.invars[1])
    out_ndim = len(shape_of(eqn.outvars[0]))
    if field is None or index is None or len(numbers.start_index_map) != 1:
        raise Bound
    dim = numbers.start_index_map[0]
    whole = all(
        n == s or d == dim
        for d, (n, s) in enumerate(zip(eqn.params["slice_sizes"], shape, strict=True))
    )
    if tuple(numbers.collapsed_slice_dims) != (dim,) or not whole or numbers.operand_batching_dims:
        raise Bound
    if len(indices) != 2 or index.min() < 0 or index.max() >= shape[dim]:
        raise Bound
    rows = index[:, 0]
    change = np.diff(rows)
    even = float(change[0]) if len(change) and (change == change[0]).all() else 0.0

    def pick(span: Span) -> Span:
        steps = [s * even if d == dim else s for d, s in enumerate(span.steps)]
        return span.map(lambda a: np.take(a, rows, dim) if a.shape[dim] > 1 else a, steps)

    (spot,) = (d for d in range(out_ndim) if d not in numbers.offset_dims)
    order = [d for d in range(out_ndim) if d != dim]
    order.insert(spot, dim)
    return [_each([field], lambda s: spans.transpose(pick(s), order))]


def _split(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    axis, shape = eqn.params["axis"], shape_of(eqn.invars[0])
    out: list[Field] = []
    start = 0
    for size in eqn.params["sizes"]:
        starts, counts = [0] * len(shape), list(shape)
        starts[axis], counts[axis] = start, size
        out.append(_take(fields[0], starts, counts))
        start += size
    return out


def _concatenate(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    dim = eqn.params["dimension"]
    return [lay(fields, [shape_of(v)[dim] for v in eqn.invars], dim)]


def lay(fields: Sequence[Field], sizes: Sequence[int], dim: int) -> Field:
    """Fields end to end along a dimension."""
    some = [f for f in fields if f is not None]
    if not some:
        return None
    columns = [[None if f is None else f[axis] for f in fields] for axis in range(len(some[0]))]
    return tuple(spans.concatenate(column, sizes, dim) for column in columns)


def _stack(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    axis, ndim = eqn.params["axis"], len(shape_of(eqn.outvars[0]))
    dims = [d for d in range(ndim) if d != axis]
    lifted = [_each([f], lambda s: spans.insert(s, ndim, dims)) for f in fields]
    return [lay(lifted, [1] * len(lifted), axis)]


def _unstack(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    axis, count = eqn.params["axis"], len(eqn.outvars)
    return [
        _each(fields, lambda s, i=i: spans.reduce(spans.take(s, axis, i, 1), [axis]))
        for i in range(count)
    ]


def _tile(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    shape, reps = shape_of(eqn.invars[0]), eqn.params["reps"]
    field = fields[0]
    for dim, count in enumerate(reps):
        field = lay([field] * count, [shape[dim]] * count, dim) if count > 1 else field
    return [field]


def _broadcast(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    dims, shape = eqn.params["broadcast_dimensions"], shape_of(eqn.outvars[0])
    kept = [n == shape[d] for n, d in zip(shape_of(eqn.invars[0]), dims, strict=True)]
    return [_each(fields, lambda s: spans.broadcast(s, len(shape), dims, kept))]


def _reshape(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    if eqn.params.get("dimensions") is not None:
        raise Bound
    old, new = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    return [_each(fields, lambda s: spans.reshape(s, old, new))]


def _squeeze(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    return [_each(fields, lambda s: spans.reduce(s, eqn.params["dimensions"]))]


def _expand_dims(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    ndim, new = len(shape_of(eqn.outvars[0])), eqn.params["dimensions"]
    dims = [d for d in range(ndim) if d not in new]
    return [_each(fields, lambda s: spans.insert(s, ndim, dims))]


def _transpose(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    return [_each(fields, lambda s: spans.transpose(s, eqn.params["permutation"]))]


def _rev(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    return [_each(fields, lambda s: spans.reverse(s, eqn.params["dimensions"]))]


def _cumulative(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    axis, backwards = eqn.params["axis"], eqn.params["reverse"]
    size = shape_of(eqn.invars[0])[axis]
    return [_each(fields, lambda s: spans.accumulate(s, axis, size, backwards=backwards))]


def _sort(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    dim = eqn.params.get("dimension", eqn.params.get("axis", -1))
    joined = _elementwise(fields, len(shape_of(eqn.invars[0])))
    dim = dim % len(shape_of(eqn.invars[0]))
    return [_each([joined], lambda s: spans.reduce(s, [dim], keep=True))] * len(eqn.outvars)


def _iota(eqn: JaxprEqn, fields: Sequence[Field], known: Known) -> list[Field]:
    return [None]


RULES: dict[str, Rule] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "cumlogsumexp": _cumulative,
    "cummax": _cumulative,
    "cummin": _cumulative,
    "cumprod": _cumulative,
    "cumsum": _cumulative,
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "expand_dims": _expand_dims,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reduce_window": _reduce_window,
    "reduce_window_max": _reduce_window,
    "reduce_window_min": _reduce_window,
    "reduce_window_sum": _reduce_window,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "top_k": _sort,
    "transpose": _transpose,
    "unstack": _unstack,
}
