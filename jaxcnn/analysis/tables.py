"""Summaries and comparisons as tables of strings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jaxcnn.analysis.render import Column, Table, shape, si, times
from jaxcnn.analysis.rows import IDLE, Row

if TYPE_CHECKING:
    from jaxcnn.analysis.summary import Summary

COUNTED = (
    "MACs: multiply-adds of convolutions and matrix products, padding included; FLOPs = 2 MACs. "
    "Normalisation, activation functions, additions and pooling are not counted.",
    "Activations: the values of the input and of the outputs of convolutions, pooling and dense "
    "layers, each once. Normalisation, ReLU, dropout, additions and concatenations count nothing.",
    "RF: receptive field, and its effective stride and padding, in pixels of the input. "
    "One number stands for height and width. 1 MB = 10^6 bytes.",
)


def summary_table(summary: Summary) -> Table:
    """One line for each row, totals below."""
    rows = summary.rows
    weighty = [r.macs for r in rows]
    columns = (
        Column("Layer", tuple(r.name for r in rows), right=False),
        _column("Kind", rows, lambda r: r.kind, rank=3, right=False),
        _column("Output", rows, lambda r: shape(r.output_shape), rank=2),
        _column("Kernel", rows, lambda r: times(r.kernel), rank=4),
        _column("Stride", rows, lambda r: times(r.stride), rank=5),
        _column("Pad", rows, lambda r: times(r.padding), rank=7),
        Column(
            "Params",
            tuple(f"{r.params:,}" if r.params else "" for r in rows),
            parts=tuple(r.share for r in rows),
        ),
        _column("Share", rows, lambda r: _share(r.share) if r.params else "", rank=6),
        Column(
            "MACs",
            tuple(si(m) if m else "" for m in weighty),
            parts=_parts(weighty),
        ),
        Column(
            "Activations",
            tuple(si(r.activation_bytes, "B") if r.activations else "" for r in rows),
            parts=_parts([r.activation_bytes for r in rows]),
            rank=1,
        ),
        _column("RF", rows, lambda r: times(r.receptive_field)),
        _column("RF stride", rows, lambda r: times(r.effective_stride), rank=8),
        _column("RF pad", rows, lambda r: times(r.effective_padding), rank=9),
    )
    faint = frozenset(i for i, r in enumerate(rows) if not r.activations)
    title = f"{summary.model} on images {shape(summary.input_shape)}"
    return Table(title, columns, tuple(_totals(summary)), _notes([summary]), faint)


def _totals(summary: Summary) -> list[tuple[str, str]]:
    facts = [("Parameters", f"{summary.total_params:,} ({si(summary.param_bytes, 'B')})")]
    if summary.idle_params:
        facts.append(("  not called here", f"{summary.idle_params:,}"))
    if summary.state_values:
        facts.append(("Not trained (statistics)", f"{summary.state_values:,}"))
    batch = summary.input_shape[0]
    per = "" if batch == 1 else f" for {batch} images"
    facts += [
        ("Multiply-adds (MACs)", f"{summary.total_macs:,}{per}"),
        ("FLOPs (2 x MACs)", f"{summary.total_flops:,}{per}"),
        (
            "Activations",
            f"{summary.activations:,} values ({si(summary.activation_bytes, 'B')}){per}",
        ),
        ("Convolutions and dense layers", f"{summary.depth}"),
    ]
    if summary.receptive_field:
        facts.append(("RF of the last feature map", times(summary.receptive_field)))
    return facts


def _notes(summaries: Sequence[Summary]) -> tuple[str, ...]:
    inexact = sorted({name for s in summaries for name in s.inexact})
    if not inexact:
        return COUNTED
    return (*COUNTED, f"Receptive fields are upper bounds because of: {', '.join(inexact)}.")


def summary_record(summary: Summary) -> dict[str, Any]:
    """Everything in a summary, for JSON."""
    return {
        **{f.name: getattr(summary, f.name) for f in dataclasses.fields(summary)},
        "rows": [dataclasses.asdict(row) for row in summary.rows],
        "total_flops": summary.total_flops,
        "depth": summary.depth,
        "receptive_field": summary.receptive_field,
        "counted": list(COUNTED),
    }


def comparison_records(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """One record for each network; ratios are to the first."""
    first = summaries[0]
    records = []
    for summary in summaries:
        called = summary.total_params - summary.idle_params
        largest = max((r for r in summary.rows if r.kind != IDLE), key=lambda r: r.params)
        records.append(
            {
                "model": summary.model,
                "input": summary.input_shape,
                "params": summary.total_params,
                "params_ratio": _ratio(summary.total_params, first.total_params),
                "params_called": called,
                "params_called_ratio": _ratio(called, first.total_params - first.idle_params),
                "macs": summary.total_macs,
                "macs_ratio": _ratio(summary.total_macs, first.total_macs),
                "flops": summary.total_flops,
                "activations": summary.activations,
                "activation_bytes": summary.activation_bytes,
                "depth": summary.depth,
                "conv_params": sum(r.params for r in summary.rows if r.kind == "conv"),
                "dense_params": sum(r.params for r in summary.rows if r.kind == "dense"),
                "largest_layer": largest.name,
                "largest_share": largest.params / called if called else 0.0,
                "receptive_field": summary.receptive_field,
            }
        )
    return records


def comparison_table(summaries: Sequence[Summary]) -> Table:
    """One column for each network, one line for each number."""
    records = comparison_records(summaries)
    lines: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("Input", lambda r: shape(r["input"])),
        ("Parameters", lambda r: f"{r['params']:,}"),
        ("  against the first", lambda r: _against(r["params_ratio"])),
        ("Called at inference", lambda r: f"{r['params_called']:,}"),
        ("  against the first", lambda r: _against(r["params_called_ratio"])),
        ("  in convolutions", lambda r: f"{r['conv_params']:,}"),
        ("  in dense layers", lambda r: f"{r['dense_params']:,}"),
        ("  largest layer", lambda r: r["largest_layer"]),
        ("  its share", lambda r: f"{r['largest_share']:.1%}"),
        ("MACs", lambda r: si(r["macs"])),
        ("  against the first", lambda r: _against(r["macs_ratio"])),
        ("FLOPs = 2 MACs", lambda r: si(r["flops"])),
        ("Activations", lambda r: si(r["activations"])),
        ("  memory", lambda r: si(r["activation_bytes"], "B")),
        ("Conv. and dense layers", lambda r: str(r["depth"])),
        ("RF of the last map", lambda r: times(r["receptive_field"])),
    ]
    heads = Column("", tuple(label for label, _ in lines), right=False)
    columns = [Column(r["model"], tuple(show(r) for _, show in lines)) for r in records]
    faint = frozenset(i for i, (label, _) in enumerate(lines) if label.startswith(" "))
    title = " against ".join(r["model"] for r in records)
    return Table(title, (heads, *columns), (), _notes(summaries), faint)


def _share(part: float) -> str:
    return f"{part:.1%}" if part >= 0.0005 else "<0.1%"


def _ratio(value: int, base: int) -> float | None:
    return value / base if base else None


def _against(ratio: float | None) -> str:
    if ratio is None or ratio == 1:
        return ""
    return f"{1 / ratio:.2f} times fewer" if 0 < ratio < 1 else f"{ratio:.2f} times more"


def _column(
    head: str, rows: Sequence[Row], show: Callable[[Row], str], *, rank: int = 0, right: bool = True
) -> Column:
    return Column(head, tuple(show(row) for row in rows), right=right, rank=rank)


def _parts(values: Sequence[int]) -> tuple[float, ...]:
    total = sum(values)
    return tuple(v / total if total else 0.0 for v in values)
