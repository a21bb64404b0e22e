"""The parts of an evaluation's page that need no script."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.evaluation.calibration import Calibration
from jaxcnn.evaluation.metrics import Evaluation
from jaxcnn.evaluation.record import sorted_records

# A grid of more classes is no longer readable; the most frequent mistakes are listed anyway.
MOST_GRID, MOST_PAIRS = 30, 12


def facts(record: Mapping[str, Any]) -> str:
    """The numbers on top."""
    low, high = record["top1_interval95"]
    rows = [
        ("top-1", f"{record['top1']:.2f}%", f"{low:.2f} to {high:.2f} (Wilson, 95%)"),
        ("right", f"{record['correct']:,}", f"of {record['count']:,}"),
        ("top-5", f"{record['top5']:.2f}%", ""),
        ("loss", f"{record['loss']:.4f}", "cross entropy"),
        ("calibration error", f"{record['ece']:.4f}", "ECE, 15 bins"),
        ("macro F1", f"{record['macro_f1']:.2f}%", f"{record['classes']:,} classes"),
        ("parameters", f"{record['parameters']:,}", ""),
        ("input", _size(record), _resize(record)),
    ]
    if "timing" in record:
        timing = record["timing"]
        speed = f"{timing['images_per_second']:,.0f} images/s"
        rows.append(("speed", speed, f"{timing['latency_ms']['median']:.2f} ms for one"))
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f'<small>{note}</small>' if note else ''}</dd></div>\n"
        for name, value, note in rows
    )
    return f"<dl>\n{cells}</dl>"


def _size(record: Mapping[str, Any]) -> str:
    height, width = record["preprocess"]["image_size"]
    return f"{height} x {width} x {record['preprocess']['channels']}"


def _resize(record: Mapping[str, Any]) -> str:
    resize = record["preprocess"]["resize"]
    if resize == "none":
        return "taken as it is"
    crop = f", crop {record['crop_pct']:g}" if resize == "shorter" else ", squashed"
    return f"{record['interpolation']}{crop}"


def results_table(records: Sequence[Mapping[str, Any]]) -> str:
    """All networks, the best first."""
    rows = []
    for record in sorted_records(records):
        name = html.escape(str(record["model"]))
        where = html.escape(str(record.get("network", "")))
        step = record.get("step")
        where += f", step {step:,}" if step is not None else ""
        if "error" in record:
            error = html.escape(record["error"])
            rows.append(
                f'<tr><td>{name}</td><td class="wrap">{where}</td>'
                f'<td class="wrap bad" colspan="6">failed: {error}</td></tr>'
            )
            continue
        low, high = record["top1_interval95"]
        rows.append(
            f'<tr><td>{name}</td><td class="wrap">{where}</td><td>{record["top1"]:.2f}%</td>'
            f"<td>{low:.2f} to {high:.2f}</td><td>{record['top5']:.2f}%</td>"
            f"<td>{record['loss']:.4f}</td><td>{record['ece']:.4f}</td>"
            f"<td>{record['param_count']:.2f} M</td></tr>"
        )
    numbers = ("top-1", "95% interval", "top-5", "loss", "ECE", "parameters")
    left = ' class="left"'
    heads = [("model", left), ("weights", left), *((name, "") for name in numbers)]
    return (
        '<div class="wide"><table>\n<thead><tr>'
        + "".join(f"<th{side}>{head}</th>" for head, side in heads)
        + "</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def confusion_grid(result: Evaluation) -> str:
    """The matrix as a table whose cells lead to the mistakes."""
    names = [html.escape(name) for name in result.class_names]
    if len(names) > MOST_GRID:
        return f'<p class="faint">Not drawn for {len(names):,} classes.</p>'
    counts = result.confusion
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Short names stand upright, so that a narrow screen shows more of them.
    turn = ' class="turn"' if max(map(len, names)) > 3 else ""
    head = "".join(f"<th><span{turn}>{name}</span></th>" for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = "".join(_cell(counts[i, j], share[i, j], i, j, names) for j in range(len(names)))
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return (
        '<p class="faint">Rows are true classes, columns predictions. Choose a cell to see its '
        f'mistakes.</p>\n<div class="wide"><table class="grid">\n<thead><tr><th></th>{head}</tr>'
        "</thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def _cell(count: int, share: float, i: int, j: int, names: Sequence[str]) -> str:
    high = " high" if share > 55 else ""
    zero = " zero" if not count else ""
    inner = f"<span>{count}</span>"
    if count and i != j:
        title = f"{names[i]} taken for {names[j]}: {count} ({share:.1f}% of {names[i]})"
        inner = f'<button type="button" data-cell="{i} {j}" title="{title}">{count}</button>'
    return f'<td class="{(high + zero).strip()}" style="--p:{share:.0f}">{inner}</td>'


def confused_pairs(result: Evaluation) -> str:
    """The most frequent mistakes as a list."""
    counts = result.confusion
    support = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    best = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    rows = []
    for i, j in zip(*np.unravel_index(best, wrong.shape), strict=True):
        if not wrong[i, j]:
            break
        a, b = html.escape(result.class_names[i]), html.escape(result.class_names[j])
        rows.append(
            f'<tr><td><button type="button" data-cell="{i} {j}" class="link">{a}</button></td>'
            f'<td class="left">{b}</td>'
            f"<td>{wrong[i, j]:,}</td><td>{100 * wrong[i, j] / support[i]:.1f}%</td>"
            "</tr>"
        )
    if not rows:
        return '<p class="faint">There are none.</p>'
    return (
        '<div class="wide"><table>\n<thead><tr><th>true class</th><th class="left">taken for</th>'
        "<th>times</th><th>of the class</th></tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Precision, recall and F1 of each class; a heading sorts."""
    heads = ("class", "examples", "predicted", "right", "precision", "recall", "F1")
    body = "\n".join(
        f"<tr><td>{html.escape(row['class'])}</td><td>{row['support']:,}</td>"
        f"<td>{row['predicted']:,}</td><td>{row['correct']:,}</td><td>{row['precision']:.2f}%</td>"
        f"<td>{row['recall']:.2f}%</td><td>{row['f1']:.2f}%</td></tr>"
        for row in rows
    )
    head = "".join(f'<th><button type="button">{name}</button></th>' for name in heads)
    table = (
        f'<div class="wide"><table class="sortable">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
    if len(rows) <= MOST_GRID:
        return table
    return f"<details><summary>All {len(rows):,} classes</summary>\n{table}\n</details>"


def reliability(bins: Calibration) -> str:
    """The reliability diagram: accuracy over confidence, and how many examples are in each bin."""
    left, top, side, low = 42, 8, 260, 46
    base = top + side

    def x(share: float) -> float:
        return left + side * share

    def y(share: float) -> float:
        return base - side * share

    parts = []
    most = max(1, int(bins.count.max()))
    floor = base + 14 + low
    for i, count in enumerate(bins.count):
        a, b = x(bins.edges[i]), x(bins.edges[i + 1])
        height = low * count / most
        parts.append(
            f'<rect class="count" x="{a + 1:.1f}" y="{floor - height:.1f}" '
            f'width="{b - a - 2:.1f}" height="{height:.1f}"/>'
        )
        if not count:
            continue
        accuracy, sure = bins.accuracy[i], bins.confidence[i]
        middle = (a + b) / 2
        title = f"{count:,} examples: {sure:.1%} sure, {accuracy:.1%} right"
        parts.append(
            f'<g><title>{title}</title><rect class="bar" x="{a + 1:.1f}" y="{y(accuracy):.1f}" '
            f'width="{b - a - 2:.1f}" height="{base - y(accuracy):.1f}"/>'
            f'<line class="gap" x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(accuracy):.1f}" '
            f'y2="{y(sure):.1f}"/></g>'
        )
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(
            f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
            f'<text x="{x(tick):.1f}" y="{floor + 15}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(
        f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>'
        f'<line class="axis" x1="{left}" x2="{x(1)}" y1="{base}" y2="{base}"/>'
        f'<line class="axis" x1="{left}" x2="{x(1)}" y1="{floor}" y2="{floor}"/>'
        f'<text x="{x(0.5)}" y="{floor + 31}" text-anchor="middle">confidence</text>'
        f'<text transform="rotate(-90)" x="{-y(0.5)}" y="11" text-anchor="middle">accuracy</text>'
        f'<text transform="rotate(-90)" x="{-(floor - low / 2)}" y="11" '
        'text-anchor="middle">count</text>'
    )
    return (
        f'<svg viewBox="0 0 {left + side + 12} {floor + 38}" role="img" aria-label="Reliability '
        f'diagram, expected calibration error {bins.ece:.4f}">' + "".join(parts) + "</svg>\n"
        '<p class="faint">Bars: the share that was right, among predictions of about that '
        "confidence. Orange: how far that is from the confidence. On the dashed line both agree. "
        f"Expected calibration error {bins.ece:.4f}, widest gap {bins.mce:.4f}.</p>"
    )
