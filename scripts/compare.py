"""Compare two models on the same examples: compare.py A.csv B.csv [--json FILE]

A and B are files of predictions, as evaluate.py --predictions writes them (CSV or Parquet).
Says whether the difference of their accuracies may be noise: McNemar's exact test, Tango's 95%
interval of the difference, and the examples that one got right and the other wrong.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import pathlib

import command_line
import rich.console
import rich.table

with command_line.importing():
    from jaxcnn.evaluation import Comparison, Outputs, compare, read_predictions


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=pathlib.Path, metavar="A", help="one model's predictions")
    parser.add_argument("second", type=pathlib.Path, metavar="B", help="the other's")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="examples listed (10)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="the comparison")
    parser.add_argument(
        "--differences", type=pathlib.Path, metavar="FILE", help="all differing examples, as CSV"
    )
    options = parser.parse_args(arguments)
    command_line.check_at_least(options, "show", 0)
    outputs = Outputs()
    for path in (options.json, options.differences):
        if path is not None:
            outputs.check(path)
    result = compare(read_predictions(options.first), read_predictions(options.second))
    _show(result, options.show)
    if options.json:
        outputs.add(options.json, json.dumps(result.to_json(), indent=2) + "\n")
    if options.differences:
        outputs.add(options.differences, _csv(result))
    for path in outputs.commit():
        print(f"wrote {path}")
    return 0


def _csv(result: Comparison) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, Comparison.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.rows())
    return text.getvalue()


def _show(result: Comparison, most: int) -> None:
    console = rich.console.Console()
    table = rich.table.Table("", "B right", "B wrong")
    record = result.to_json()
    table.add_row("A right", f"{result.both:,}", f"{result.only_first:,}")
    table.add_row("A wrong", f"{result.only_second:,}", f"{result.neither:,}")
    console.print(f"A: {record['first_top1']:.2f}%  {result.first.path}", markup=False)
    console.print(f"B: {record['second_top1']:.2f}%  {result.second.path}", markup=False)
    console.print(table)
    console.print(result.verdict(), markup=False)
    rows = result.rows()[:most]
    if rows:
        listed = rich.table.Table("index", "key", "label", "A says", "B says")
        for row in rows:
            names = (row["label_name"], row["first_name"], row["second_name"])
            listed.add_row(str(row["index"]), row["key"], *names)
        console.print(listed)
        left = len(result.differing) - len(rows)
        if left:
            console.print(f"and {left:,} more (--differences FILE lists all)")


if __name__ == "__main__":
    command_line.run(main)
