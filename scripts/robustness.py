"""Accuracy under shifts, blur, noise and JPEG: robustness.py RUN_OR_WEIGHTS... --figure FILE

Every image of the split is changed in every way and scored again: shifted by 0 to 8 pixels up,
down, left and right; blurred; with noise; as JPEG of lower quality. Several networks go into one
figure. The changes are the same on every machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys

import command_line
import rich.console
import rich.progress
import rich.table

with command_line.importing():
    from jaxcnn.evaluation import Options, Outputs, prepare_network
    from jaxcnn.evaluation.corruptions import LEVELS, conditions
    from jaxcnn.evaluation.robustness import Robustness, measure_robustness, to_csv
    from jaxcnn.visualize import canvas, draw_robustness


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    command_line.start_processes(options)
    from jaxcnn import processes

    outputs = Outputs()
    for path in (options.figure, options.json, options.csv):
        if path is not None:
            outputs.check(path)
    names = options.names.split(",") if options.names else [None] * len(options.network)
    results = [
        _measure(network, name, options)
        for network, name in zip(options.network, names, strict=True)
    ]
    if len({result.name for result, _ in results}) < len(results):
        results = [
            (dataclasses.replace(result, name=f"{i}: {result.name}"), classes)
            for i, (result, classes) in enumerate(results, start=1)
        ]
    if not processes.is_main():
        return 0
    _show([result for result, _ in results])
    if options.figure:
        curves = {r.name: {kind: r.rows(kind) for kind in r.kinds()} for r, _ in results}
        classes = {count for _, count in results}
        chance = 1 / classes.pop() if len(classes) == 1 else None
        title = options.title or "Accuracy on changed images"
        outputs.add(
            options.figure, lambda path: draw_robustness(curves, path, title=title, chance=chance)
        )
    if options.json:
        text = json.dumps([result.to_json() for result, _ in results], indent=2)
        outputs.add(options.json, text + "\n")
    if options.csv:
        outputs.add(options.csv, to_csv([result for result, _ in results]))
    for path in outputs.commit():
        print(f"wrote {path}")
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_network_arguments(parser, many=True)
    command_line.add_data_arguments(parser)
    parser.add_argument(
        "--corruptions",
        default=",".join(LEVELS),
        metavar="A,B",
        help=f"some of {','.join(LEVELS)} (all)",
    )
    parser.add_argument(
        "--border",
        choices=("black", "edge", "reflect", "wrap"),
        default="black",
        help="what a shift brings in from outside the image (black)",
    )
    parser.add_argument(
        "--names", metavar="A,B", help="what the networks are called (default: their models)"
    )
    parser.add_argument("--title", help="of the figure")
    endings = f".{', .'.join(canvas.FORMATS)}"
    parser.add_argument("--figure", type=pathlib.Path, metavar="FILE", help=endings)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="all counts")
    parser.add_argument("--csv", type=pathlib.Path, metavar="FILE", help="one row a level")
    command_line.add_process_arguments(parser)
    options = parser.parse_args(arguments)
    command_line.check_data_arguments(options)
    conditions(tuple(options.corruptions.split(",")))
    names = options.names.split(",") if options.names else []
    if names and (len(names) != len(options.network) or len(set(names)) < len(names)):
        raise ValueError(f"--names {options.names}: give {len(options.network)}, all different.")
    if options.figure:
        canvas.check_ending(options.figure)
    return options


def _measure(given: str, name: str | None, options: argparse.Namespace) -> tuple[Robustness, int]:
    """One network's counts, and its number of classes."""
    network = command_line.load_network(options, given)
    source = command_line.open_data(options, network)
    how = Options(batch_size=options.batch_size, threads=options.threads, max_bad=options.max_bad)
    setup, _ = prepare_network(network, source, how)
    where = f" ({pathlib.Path(network.source).name})" if len(options.network) > 1 else ""
    label = name or f"{network.name}{where}"
    with rich.progress.Progress(
        console=rich.console.Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task(label, total=len(source))
        result = measure_robustness(
            setup,
            label,
            kinds=options.corruptions.split(","),
            border=options.border,
            threads=options.threads,
            progress=lambda done: bar.update(task, completed=done),
        )
    return result, len(source.class_names)


def _show(results: list[Robustness]) -> None:
    console = rich.console.Console()
    for kind in results[0].kinds():
        table = rich.table.Table(f"{kind}", *(result.name for result in results))
        rows = [result.rows(kind) for result in results]
        for same_level in zip(*rows, strict=True):
            level = same_level[0]["level"]
            shares = [f"{100 * row['top1']:.2f}%" for row in same_level]
            table.add_row("none" if level is None else f"{level:g}", *shares)
        console.print(table)


if __name__ == "__main__":
    command_line.run(main)
