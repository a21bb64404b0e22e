"""From a walked program to the rows of a table."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import math
from collections.abc import Sequence

from jaxcnn.analysis.receptive_field import Number, measure
from jaxcnn.analysis.rules import Field
from jaxcnn.analysis.trace import Call, Path, Trace
from jaxcnn.analysis.walk import Operation, Output, Walk
from jaxcnn.nn import Conv

IDLE = "not called"
WEIGHTED = frozenset({"conv", "transposed conv", "dense", "matrix product"})
_KINDS = {
    "BatchNorm": "batch norm",
    "LayerNorm": "layer norm",
    "GroupNorm": "group norm",
    "InstanceNorm": "instance norm",
    "RMSNorm": "RMS norm",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer.

    `kernel`, `stride`, `dilation` are (height, width); `padding` is ((top, bottom), (left, right)).
    `share` is of the network's parameters, 0 to 1. `macs`, `backward_macs`, `activations` and
    `activation_bytes` are for the whole batch; `backward_macs` are those of the gradients of the
    kernel and, unless nothing before it is trained, of the input. `receptive_field`,
    `effective_stride` and `effective_padding` are (height, width) in pixels of the image; the last
    two are None without spatial axes.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    params: int = 0
    share: float = 0.0
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    padding: tuple[tuple[int, int], ...] | None = None
    dilation: tuple[int, ...] | None = None
    groups: int = 1
    macs: int = 0
    backward_macs: int = 0
    activations: int = 0
    activation_bytes: int = 0
    receptive_field: tuple[Number, Number] | None = None
    effective_stride: tuple[Number, Number] | None = None
    effective_padding: tuple[Number, Number] | None = None


@dataclasses.dataclass
class _Slot:
    """A row in the making: where it stands in the program and whose parameters it takes."""

    place: float
    path: Path
    row: Row
    operation: Operation | None = None


def build(trace: Trace, walk: Walk) -> list[Row]:
    """The input, then one row for each layer in the order in which the program runs them."""
    slots = _operation_slots(trace, walk)
    slots += _module_slots(trace, walk, {s.path for s in slots if s.row.kind in WEIGHTED})
    slots.sort(key=lambda slot: slot.place)
    _give_params(trace, slots)
    image = trace.images
    count = math.prod(image.shape)
    first = Row("input", "input", tuple(image.shape), activations=count, activation_bytes=4 * count)
    return [first, *(slot.row for slot in slots)]


def find(rows: Sequence[Row], name: str) -> Row:
    """The first row of that name."""
    for row in rows:
        if row.name == name:
            return row
    near = difflib.get_close_matches(name, [r.name for r in rows], n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "print it to see all."
    raise ValueError(f"There is no layer {name!r} in this summary; {hint}")


def _operation_slots(trace: Trace, walk: Walk) -> list[_Slot]:
    owners = {path[1:-1] for path in trace.shapes if path[0] == "params"}
    kept: list[tuple[int, Operation, Call]] = []
    ours: set[int] = set()
    for place, operation in enumerate(walk.operations):
        call = trace.calls[trace.calls[operation.call or 0].owner]
        if isinstance(call.module, Conv):
            # Whatever form the layer is computed in, its row states what it is by definition.
            if call.index in ours:
                continue
            ours.add(call.index)
            operation = _by_definition(operation, call, walk.outputs[call.index])
        elif operation.kind.startswith("global") and call.leaf and call.path in owners:
            continue  # the means of a normalisation layer
        kept.append((place, operation, call))
    counts = collections.Counter(call.index for _, _, call in kept)
    names = _Names()
    slots = []
    for place, operation, call in kept:
        alone = call.leaf and counts[call.index] == 1 and call.path
        base = call.name if alone else "/".join([*call.path, operation.kind.replace(" ", "_")])
        slots.append(_Slot(place, call.path, _row(names(base), operation), operation))
    return slots


def _module_slots(trace: Trace, walk: Walk, taken: set[Path]) -> list[_Slot]:
    """Rows for parameters outside convolutions and dense layers, and for modules not called."""
    owners: dict[Path, None] = {p[1:-1]: None for p in trace.shapes if p[0] == "params"}
    called = {call.path: trace.calls[call.owner] for call in reversed(trace.calls)}
    slots = []
    for path in owners:
        if path in taken:
            continue
        name = "/".join(path) or type(trace.model).__name__
        call = called.get(path)
        if call is None:
            slots.append(_Slot(math.inf, path, Row(name, IDLE, ())))
            continue
        kind = type(call.module).__name__
        out = walk.outputs.get(call.index)
        shape = out.shape if out else ()
        row = _seen(Row(name, _KINDS.get(kind, kind), shape), out.field if out else None)
        slots.append(_Slot((out.after if out else 0) - 0.5, path, row))
    return slots


def _give_params(trace: Trace, slots: list[_Slot]) -> None:
    """Every parameter to exactly one row: its module's, and there the operation that uses it."""
    for path, shape in trace.shapes.items():
        if path[0] != "params":
            continue
        own = [s for s in slots if s.path == path[1:-1]]
        own = [s for s in own if s.operation is None or s.row.kind in WEIGHTED] or own
        users = [s for s in own if s.operation is not None and path in s.operation.params]
        slot = (users or own)[0]
        count = slot.row.params + math.prod(shape.shape)
        slot.row = dataclasses.replace(slot.row, params=count)


def _by_definition(operation: Operation, call: Call, out: Output) -> Operation:
    conv = call.module
    assert isinstance(conv, Conv)
    kernel, stride, dilation, pads = (
        (v, v) if isinstance(v, int) else tuple(v)
        for v in (conv.kernel_size, conv.stride, conv.dilation, conv.padding)
    )
    channels = call.inputs[0][-1]
    macs = math.prod(out.shape) * math.prod(kernel) * channels // conv.groups
    return dataclasses.replace(
        operation,
        kind="conv",
        output_shape=out.shape,
        itemsize=out.itemsize,
        field=out.field,
        macs=macs,
        backward_macs=macs * (operation.backward_macs // max(operation.macs, 1)),
        kernel=kernel,
        stride=stride,
        padding=tuple((p, p) for p in pads),
        dilation=dilation,
        groups=conv.groups,
    )


def _row(name: str, operation: Operation) -> Row:
    count = math.prod(operation.output_shape)
    row = Row(
        name=name,
        kind=operation.kind,
        output_shape=operation.output_shape,
        kernel=operation.kernel,
        stride=operation.stride,
        padding=operation.padding,
        dilation=operation.dilation,
        groups=operation.groups,
        macs=operation.macs,
        backward_macs=operation.backward_macs,
        activations=count,
        activation_bytes=count * operation.itemsize,
    )
    return _seen(row, operation.field)


def _seen(row: Row, field: Field) -> Row:
    """The row with its receptive field."""
    if field is None:
        return row
    found = measure("", row.output_shape, field)
    spatial = any(found.stride)
    return dataclasses.replace(
        row,
        receptive_field=found.size,
        effective_stride=found.stride if spatial else None,
        effective_padding=found.padding if spatial else None,
    )


class _Names:
    """'pool', then 'pool_2', 'pool_3' for the same name again."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()

    def __call__(self, name: str) -> str:
        self.counts[name] += 1
        return name if self.counts[name] == 1 else f"{name}_{self.counts[name]}"
