"""Spans: along one image axis, the interval of pixels that each element of a value depends on.

A span belongs to one value of a traced program and to one axis of the image. Its arrays have the
value's number of dimensions, and length 1 along every dimension over which they do not vary, so
that a span costs a few hundred numbers however large the value is. An empty interval is
(+inf, -inf): the neutral element of min and max.

Every interval is held twice. The exact one stays inside the image: padding depends on nothing. The
unclipped one continues the grid of pixels into the padding, as the receptive-field literature does
(Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

Shape = tuple[int, ...]
_FILL = (np.inf, -np.inf, np.inf, -np.inf)


@dataclasses.dataclass(frozen=True)
class Span:
    """Intervals [low, high] of pixel positions, exact and unclipped, and the grid's steps.

    `steps[d]` is by how many pixels the interval moves per index of dimension d, 0 where the
    dimension does not carry this image axis.
    """

    low: np.ndarray
    high: np.ndarray
    free_low: np.ndarray
    free_high: np.ndarray
    steps: tuple[float, ...]

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.low, self.high, self.free_low, self.free_high)

    def map(self, change: Callable[[np.ndarray], np.ndarray], steps: Sequence[float]) -> Span:
        """The same change of all four arrays."""
        return _span([change(a) for a in self.arrays], steps)

    def varies(self, dim: int) -> bool:
        return self.steps[dim] != 0 or any(a.shape[dim] > 1 for a in self.arrays)


def _span(arrays: Sequence[np.ndarray], steps: Sequence[float]) -> Span:
    low, high, free_low, free_high = arrays
    return Span(low, high, free_low, free_high, tuple(steps))


def image_span(ndim: int, dim: int, size: int) -> Span:
    """The span of the image itself along dimension `dim`: element i depends on pixel i."""
    shape = [1] * ndim
    shape[dim] = size
    pixels = np.arange(size, dtype=np.float64).reshape(shape)
    return Span(pixels, pixels, pixels, pixels, tuple(float(d == dim) for d in range(ndim)))


def join(spans: Sequence[Span]) -> Span:
    """The union, element by element, of spans whose values broadcast against one another."""
    if len(spans) == 1:
        return spans[0]
    steps = tuple(max(column, key=abs) for column in zip(*(s.steps for s in spans), strict=True))
    low, high, free_low, free_high = spans[0].arrays
    for span in spans[1:]:
        low, high = np.minimum(low, span.low), np.maximum(high, span.high)
        free_low = np.minimum(free_low, span.free_low)
        free_high = np.maximum(free_high, span.free_high)
    return _compress(Span(low, high, free_low, free_high, steps))


def reduce(span: Span, dims: Sequence[int], *, keep: bool = False) -> Span:
    """The union over `dims`, which are dropped, or kept with length 1."""
    axis = tuple(dims)
    steps = [0.0 if d in axis else s for d, s in enumerate(span.steps) if keep or d not in axis]
    return Span(
        span.low.min(axis=axis, keepdims=keep),
        span.high.max(axis=axis, keepdims=keep),
        span.free_low.min(axis=axis, keepdims=keep),
        span.free_high.max(axis=axis, keepdims=keep),
        tuple(steps),
    )


def accumulate(span: Span, dim: int, size: int, *, backwards: bool) -> Span:
    """The union with everything before (or after) along `dim`: cumulative sums and their like."""

    def run(array: np.ndarray, op: np.ufunc) -> np.ndarray:
        full = _expand(array, dim, size)
        full = np.flip(full, dim) if backwards else full
        out = op.accumulate(full, axis=dim)
        return np.flip(out, dim) if backwards else out

    lows, highs = np.minimum, np.maximum
    return Span(
        run(span.low, lows),
        run(span.high, highs),
        run(span.free_low, lows),
        run(span.free_high, highs),
        span.steps,
    )


def take(span: Span, dim: int, start: int, count: int, stride: int = 1) -> Span:
    """Elements start, start + stride, ... along `dim`."""
    index = slice(start, start + (count - 1) * stride + 1, stride) if count else slice(0, 0)
    where = tuple(index if d == dim else slice(None) for d in range(len(span.steps)))
    steps = [s * stride if d == dim else s for d, s in enumerate(span.steps)]
    return span.map(lambda a: a[where] if a.shape[dim] > 1 else a, steps)


def pad(
    spans: Sequence[Span], dim: int, size: int, low: int, high: int, inner: int = 0
) -> list[Span]:
    """All spans of one value after padding dimension `dim` of length `size` by low, high, inner.

    Where the dimension carries an image axis, only that axis' span can tell padding from pixels.
    Where it carries none (zero-padded channels) every span becomes empty there.
    """
    carried = any(span.steps[dim] != 0 for span in spans)
    return [
        span
        if not span.varies(dim) and (carried or not (low or high or inner))
        else _pad(span, dim, size, low, high, inner)
        for span in spans
    ]


def _pad(span: Span, dim: int, size: int, low: int, high: int, inner: int) -> Span:
    step, spacing = span.steps[dim], inner + 1
    # The grid is continued before it is spread, so that spread positions stay on the grid.
    before, after = -(-max(low, 0) // spacing), -(-max(high, 0) // spacing)

    def one(array: np.ndarray, fill: float, continued: bool) -> np.ndarray:
        array = _expand(array, dim, size)
        parts = [_block(array, dim, before, fill), array, _block(array, dim, after, fill)]
        if continued and step and size:
            first, last = np.take(array, [0], dim), np.take(array, [-1], dim)
            parts[0] = first - step * _column(np.arange(before, 0, -1), dim, array.ndim)
            parts[2] = last + step * _column(np.arange(1, after + 1), dim, array.ndim)
        array = np.concatenate(parts, dim)
        if inner:
            spread = _block(array, dim, max((array.shape[dim] - 1) * spacing + 1, 0), fill)
            spread[(slice(None),) * dim + (slice(None, None, spacing),)] = array
            array = spread
        start = before * spacing - low
        stop = start + low + high + ((size - 1) * spacing + 1 if size else 0)
        short = max(stop - array.shape[dim], 0)
        array = np.concatenate([array, _block(array, dim, short, fill)], dim)
        return array[(slice(None),) * dim + (slice(start, stop),)]

    arrays = [
        one(a, fill, continued)
        for a, fill, continued in zip(span.arrays, _FILL, (False, False, True, True), strict=True)
    ]
    steps = [s / spacing if d == dim else s for d, s in enumerate(span.steps)]
    return _span(arrays, steps)


def window(span: Span, dim: int, kernel: int, stride: int, dilation: int, count: int) -> Span:
    """The union over sliding windows along an already padded dimension; `count` outputs."""
    if not span.varies(dim):
        return span
    lead = (slice(None),) * dim

    def slide(array: np.ndarray, op: np.ufunc) -> np.ndarray:
        if array.shape[dim] == 1 and (kernel > 1 or count > 1):
            return array
        out: np.ndarray | None = None
        for tap in range(0, kernel * dilation, dilation):
            part = array[(*lead, slice(tap, tap + (count - 1) * stride + 1, stride))]
            out = part if out is None else op(out, part)
        assert out is not None
        return out

    steps = [s * stride if d == dim else s for d, s in enumerate(span.steps)]
    return Span(
        slide(span.low, np.minimum),
        slide(span.high, np.maximum),
        slide(span.free_low, np.minimum),
        slide(span.free_high, np.maximum),
        tuple(steps),
    )


def mix_channels(span: Span, dim: int, groups: int, features: int) -> Span:
    """Every output channel depends on all input channels of its group."""
    if groups == 1:
        return reduce(span, [dim], keep=True)

    def mix(array: np.ndarray, op: np.ufunc) -> np.ndarray:
        if array.shape[dim] == 1:
            return array
        shape = array.shape
        grouped = array.reshape(*shape[:dim], groups, -1, *shape[dim + 1 :])
        return np.repeat(op.reduce(grouped, axis=dim + 1), features // groups, axis=dim)

    return Span(
        mix(span.low, np.minimum),
        mix(span.high, np.maximum),
        mix(span.free_low, np.minimum),
        mix(span.free_high, np.maximum),
        span.steps,
    )


def concatenate(spans: Sequence[Span | None], sizes: Sequence[int], dim: int) -> Span:
    """Values laid end to end along `dim`; None depends on no pixel."""
    known = [s for s in spans if s is not None]
    steps = tuple(max(column, key=abs) for column in zip(*(s.steps for s in known), strict=True))
    if len(known) == len(spans) and not any(s.varies(dim) for s in known):
        first = known[0].arrays
        if all(all(map(np.array_equal, s.arrays, first)) for s in known[1:]):
            return known[0]
    arrays = []
    for slot, fill in enumerate(_FILL):
        common = list(np.broadcast_shapes(*(_without(s.arrays[slot], dim) for s in known)))
        parts = []
        for span, size in zip(spans, sizes, strict=True):
            shape = tuple(size if d == dim else n for d, n in enumerate(common))
            part = np.full(shape, fill) if span is None else span.arrays[slot]
            parts.append(np.broadcast_to(part, shape))
        arrays.append(np.concatenate(parts, dim))
    return _span(arrays, steps)


def broadcast(span: Span, ndim: int, dims: Sequence[int], kept: Sequence[bool]) -> Span:
    """Dimension i becomes `dims[i]` of `ndim`; a length-1 dimension may be stretched (not kept)."""
    steps = [0.0] * ndim
    for source, target in enumerate(dims):
        if kept[source]:
            steps[target] = span.steps[source]

    def place(array: np.ndarray) -> np.ndarray:
        shape = [1] * ndim
        for source, target in enumerate(dims):
            shape[target] = array.shape[source]
        return array.reshape(shape)

    return span.map(place, steps)


def insert(span: Span, ndim: int, dims: Sequence[int]) -> Span:
    """Dimension i becomes `dims[i]` of `ndim`; the others are new, of length 1."""
    return broadcast(span, ndim, dims, [True] * len(dims))


def transpose(span: Span, order: Sequence[int]) -> Span:
    return span.map(lambda a: a.transpose(order), [span.steps[d] for d in order])


def reverse(span: Span, dims: Sequence[int]) -> Span:
    steps = [-s if d in dims else s for d, s in enumerate(span.steps)]
    return span.map(lambda a: np.flip(a, tuple(dims)), steps)


def reshape(span: Span, old: Shape, new: Shape) -> Span:
    """Row-major reshape; only runs of dimensions that really merge or split are expanded."""
    steps = [0.0] * len(new)
    split: list[int] = []
    spread: list[list[int]] = [[], [], [], []]
    shapes: list[list[int]] = [[], [], [], []]
    for olds, news in _factor(old, new):
        sources = [d for d in olds if old[d] != 1]
        targets = [d for d in news if new[d] != 1]
        if [old[d] for d in sources] == [new[d] for d in targets]:
            if len(olds) == len(news) == 1:
                sources, targets = olds, news
            origin = dict(zip(targets, sources, strict=True))
            for slot, array in enumerate(span.arrays):
                spread[slot] += [array.shape[d] for d in olds]
                shapes[slot] += [array.shape[origin[d]] if d in origin else 1 for d in news]
            for target, source in origin.items():
                steps[target] = span.steps[source]
            continue
        split += news
        for slot, array in enumerate(span.arrays):
            flat = all(array.shape[d] == 1 for d in olds)
            spread[slot] += [1 if flat else old[d] for d in olds]
            shapes[slot] += [1 if flat else new[d] for d in news]
    arrays = [
        np.broadcast_to(a, s).reshape(n)
        for a, s, n in zip(span.arrays, spread, shapes, strict=True)
    ]
    for dim in split:
        steps[dim] = _step(arrays[2], dim)
    return _span(arrays, steps)


def _factor(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Pairs of runs of dimensions with equal products, as short as possible."""
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        olds, news = [], []
        if i < len(old):
            olds.append(i)
            i += 1
        if j < len(new):
            news.append(j)
            j += 1
        left = int(np.prod([old[d] for d in olds]))
        right = int(np.prod([new[d] for d in news]))
        while left != right:
            if (left < right or j >= len(new)) and i < len(old):
                left *= old[i]
                olds.append(i)
                i += 1
            else:
                right *= new[j]
                news.append(j)
                j += 1
        groups.append((olds, news))
    return groups


def _compress(span: Span) -> Span:
    """Length 1 again where a dimension that carries nothing came to hold equal intervals."""
    for dim, step in enumerate(span.steps):
        if step or all(a.shape[dim] == 1 for a in span.arrays):
            continue
        first = [np.take(a, [0], dim) for a in span.arrays]
        if all((a == f).all() for a, f in zip(span.arrays, first, strict=True)):
            span = _span(first, span.steps)
    return span


def _step(array: np.ndarray, dim: int) -> float:
    """The constant difference along a dimension, or 0 where there is none."""
    if array.shape[dim] < 2 or not np.isfinite(array).all():
        return 0.0
    change = np.diff(array, axis=dim)
    return float(change.flat[0]) if (change == change.flat[0]).all() else 0.0


def _expand(array: np.ndarray, dim: int, size: int) -> np.ndarray:
    shape = [size if d == dim else n for d, n in enumerate(array.shape)]
    return np.broadcast_to(array, shape)


def _block(array: np.ndarray, dim: int, length: int, fill: float) -> np.ndarray:
    return np.full([length if d == dim else n for d, n in enumerate(array.shape)], fill)


def _column(values: np.ndarray, dim: int, ndim: int) -> np.ndarray:
    return values.reshape([-1 if d == dim else 1 for d in range(ndim)]).astype(np.float64)


def _without(array: np.ndarray, dim: int) -> Shape:
    return tuple(1 if d == dim else n for d, n in enumerate(array.shape))
