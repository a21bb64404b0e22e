"""Tables of strings as text, Markdown, JSON or CSV, and numbers as people read them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Sequence
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Column:
    """A heading, its cells, and how soon it goes where a terminal is narrow (0: never)."""

    head: str
    cells: tuple[str, ...]
    right: bool = True
    rank: int = 0
    # Each cell's part of the column's sum, drawn as a bar on the page.
    parts: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A title, columns of equal length, facts below as (label, value), and notes."""

    title: str
    columns: tuple[Column, ...]
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    faint: frozenset[int] = frozenset()


def si(value: float, unit: str = "") -> str:
    """Three digits and a decimal prefix: 15470264320 is '15.5 G'; below 1000, the number itself."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            digits = next(
                d for d, least in ((0, 99.95), (1, 9.995), (2, 0)) if value >= least * factor
            )
            return f"{value / factor:.{digits}f} {prefix}{unit}"
    return f"{value:g} {unit}".rstrip()


def times(values: Sequence[Any] | None) -> str:
    """'3' for (3, 3), '3x5' for (3, 5), nothing for None."""
    if values is None:
        return ""
    texts = [_pad(v) if isinstance(v, tuple) else f"{v:g}" for v in values]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)


def shape(values: Sequence[int]) -> str:
    return "x".join(map(str, values))


def _pad(sides: tuple[int, int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"({sides[0]},{sides[1]})"


def text(table: Table, width: int | None = None, color: bool | None = None) -> str:
    """For a terminal: the least important columns go until the table fits `width` columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    width = shutil.get_terminal_size((100, 24)).columns if width is None else width
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, highlight=False, markup=False, emoji=False
    )
    console.print(table.title, style="bold")
    console.print()
    for columns in _blocks(_fitting(table.columns, width), width):
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for column in columns:
            side: Literal["left", "right"] = "right" if column.right else "left"
            grid.add_column(column.head, justify=side, overflow="fold")
        for index, cells in enumerate(zip(*(c.cells for c in columns), strict=True)):
            grid.add_row(*cells, style="dim" if index in table.faint else None)
        console.print(grid)
        console.print()
    label = max((len(name) for name, _ in table.facts), default=0)
    for name, value in table.facts:
        console.print(_hang(f"{name:<{label}}  {value}", label + 2, width))
    if table.facts and table.notes:
        console.print()
    for note in table.notes:
        console.print(_hang(note, 0, width), style="dim")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _hang(line: str, indent: int, width: int) -> str:
    """A line broken at words, its continuation below the value."""
    import textwrap

    return textwrap.fill(line, max(width, indent + 20), subsequent_indent=" " * indent)


def _width(columns: Sequence[Column]) -> int:
    return sum(max(map(len, (c.head, *c.cells))) + 2 for c in columns)


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    kept = list(columns)
    while _width(kept) > width and any(c.rank for c in kept):
        kept.remove(max(kept, key=lambda c: c.rank))
    return kept


def _blocks(columns: list[Column], width: int) -> list[list[Column]]:
    """Columns that are too many for one table, in several below one another."""
    blocks = [[columns[0]]]
    for column in columns[1:]:
        if len(blocks[-1]) > 1 and _width([*blocks[-1], column]) > width:
            blocks.append([columns[0]])
        blocks[-1].append(column)
    return blocks


def markdown(table: Table) -> str:
    """A Markdown table; facts and notes below it as a list."""
    lines = [f"## {table.title}", ""]
    lines.append("| " + " | ".join(c.head for c in table.columns) + " |")
    lines.append("|" + "|".join("---:" if c.right else "---" for c in table.columns) + "|")
    for cells in zip(*(c.cells for c in table.columns), strict=True):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if table.facts or table.notes:
        lines.append("")
    lines += [f"- **{name}:** {value}" for name, value in table.facts]
    lines += [f"- {note}" for note in table.notes]
    return "\n".join(lines)


def to_json(value: Any) -> str:
    """Two-space indented JSON; tuples are lists."""
    return json.dumps(value, indent=2)


def to_csv(records: Sequence[dict[str, Any]]) -> str:
    """One line for each record; nested tuples as 3x3, None as nothing."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: _cell(value) for key, value in record.items()})
    return stream.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "x".join("+".join(map(str, v)) if isinstance(v, tuple) else f"{v}" for v in value)
    return value
