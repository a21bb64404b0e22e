"""Exact receptive fields, from the traced program.

A receptive field is the smallest box of input pixels outside of which no pixel can change a unit,
whatever the weights. Branches, dilation, uneven padding, shortcuts and slices need no special case:
every primitive of the program carries the intervals (`analysis.rules`).

Conventions, those of Araujo, Norris and Sim 2019: size, effective stride and effective padding
describe the grid of boxes continued beyond the image: unit i covers the pixels from
i * stride - padding to i * stride - padding + size - 1.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from jaxcnn.analysis.rules import Field
from jaxcnn.analysis.spans import Span
from jaxcnn.analysis.trace import Trace, trace
from jaxcnn.analysis.walk import Output, Walk, walk

Pair = tuple[int, int]
Number = int | float


@dataclasses.dataclass(frozen=True)
class Box:
    """Rows [top, bottom) and columns [left, right) of input pixels; empty where top >= bottom."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Pair:
        return max(self.bottom - self.top, 0), max(self.right - self.left, 0)


@dataclasses.dataclass(frozen=True)
class TapField:
    """The receptive field of one value, as (height, width).

    `size` is the largest over units and channels. `stride` is the pixels between neighbouring
    units, 0 where the value has no axis for them (after global pooling, in dense layers). `padding`
    is how far the first unit's box reaches over the top and left edge.
    """

    name: str
    shape: tuple[int, ...]
    size: tuple[Number, Number]
    stride: tuple[Number, Number]
    padding: tuple[Number, Number]


class _UnknownName(KeyError, ValueError):
    """A mapping's error, which scripts show as one line as they do every ValueError."""

    __str__ = Exception.__str__  # KeyError's would put quotes around it


class ReceptiveFields(Mapping[str, TapField]):
    """The receptive fields of a network's taps and modules; a mapping by name.

    `taps` lists the sown intermediates, `names` those and every module path. `inexact` names
    the primitives, if any, for which only an upper bound is known.
    """

    def __init__(self, traced: Trace, walked: Walk) -> None:
        self.image_size: Pair = traced.images.shape[1:3]
        self.inexact = tuple(walked.inexact)
        self.taps = tuple(n for n, out in walked.taps.items() if out.field is not None)
        self._outputs: dict[str, Output] = {}
        for index, out in walked.outputs.items():
            if out.field is not None and traced.calls[index].path:
                self._outputs[traced.calls[index].name] = out
        # A tap and a module may share a name; the tap is what the author chose to show.
        self._outputs.update({name: walked.taps[name] for name in self.taps})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._outputs)

    def __getitem__(self, name: str) -> TapField:
        out = self._output(name)
        return measure(name, out.shape, out.field)

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def box(
        self,
        name: str,
        unit: tuple[int, ...] = (),
        *,
        channel: int | None = None,
        clipped: bool = True,
    ) -> Box:
        """The pixels that one unit can see.

        `unit` is (row, column) of a [B, H, W, C] value, () of a value without spatial axes.
        Without a channel, the union over channels. Not clipped, the box continues over the edge
        by the padding. Raises ValueError for an unknown name or a unit that is not there.
        """
        out = self._output(name)
        spatial = out.shape[1:-1]
        if len(unit) != len(spatial) or any(
            not 0 <= u < n for u, n in zip(unit, spatial, strict=True)
        ):
            raise ValueError(f"unit {unit} is not in {name!r}: its units are {spatial or '()'}.")
        if channel is not None and not 0 <= channel < out.shape[-1]:
            raise ValueError(f"channel {channel} is not in {name!r}: it has {out.shape[-1]}.")
        last = slice(None) if channel is None else slice(channel, channel + 1)
        where = (slice(None), *(slice(u, u + 1) for u in unit), last)
        edges = [_interval(span, where, clipped) for span in out.field or ()]
        (top, bottom), (left, right) = edges
        return Box(top, left, bottom, right)

    def _output(self, name: str) -> Output:
        if name in self._outputs:
            return self._outputs[name]
        near = difflib.get_close_matches(str(name), self._outputs, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else "see .names for all."
        raise _UnknownName(f"There is no layer or tap {name!r}; {hint}")


def receptive_field(
    model: nn.Module,
    image_size: int | Pair,
    *,
    channels: int = 3,
    call_args: Mapping[str, Any] | None = None,
) -> ReceptiveFields:
    """The receptive fields of everything in a network, in inference mode.

    `image_size` matters only for boxes at the edges and for global operations. Nothing is
    computed. Raises TraceError where the module cannot be traced on such images.
    """
    traced = trace(model, image_size, channels=channels, call_args=call_args)
    return ReceptiveFields(traced, walk(traced))


def measure(name: str, shape: tuple[int, ...], field: Field) -> TapField:
    """Size, effective stride and effective padding of a value."""
    spans = field or ()
    sizes = [_number(np.max(s.free_high - s.free_low, initial=-1) + 1) for s in spans]
    strides = [_number(max((abs(x) for x in s.steps), default=0.0)) for s in spans]
    paddings = [_number(_first(s)) for s in spans]
    return TapField(
        name, shape, (sizes[0], sizes[1]), (strides[0], strides[1]), (paddings[0], paddings[1])
    )


def _first(span: Span) -> float:
    """How far the first unit's largest box starts before pixel 0."""
    lead = tuple(slice(0, 1) if s else slice(None) for s in span.steps)
    part = tuple(lead[d] if span.free_low.shape[d] > 1 else slice(None) for d in range(len(lead)))
    low = np.min(span.free_low[part], initial=np.inf)
    return -low if np.isfinite(low) else 0.0


def _number(value: float) -> Number:
    """An int where the value is whole, as it is but for transposed convolutions."""
    value = float(value)
    if not np.isfinite(value):
        return 0
    return int(value) if value.is_integer() else value


def _interval(span: Span, where: tuple[slice, ...], clipped: bool) -> Pair:
    low, high = (span.low, span.high) if clipped else (span.free_low, span.free_high)

    def part(array: np.ndarray) -> np.ndarray:
        index = tuple(w if n > 1 else slice(None) for w, n in zip(where, array.shape, strict=True))
        return array[index]

    first, last = part(low).min(), part(high).max()
    if not np.isfinite(first):
        return 0, 0
    return int(np.floor(first)), int(np.ceil(last)) + 1
