"""Evaluate networks: evaluate.py RUN_OR_WEIGHTS... [--dataset NAME] [--split NAME] [--json FILE]

A run's folder is evaluated on the run's own evaluation split unless another is named; weights
need --dataset. Datasets: digits, folder:PATH, a prepared TFDS dataset, or a standard set by its
name: imagenet2012, imagenet_v2, imagenet2012_real, imagenet_a, imagenet_r, cifar10_1.

With several networks, or several checkpoints (--checkpoint last,best,400, or all), one that fails
stays in the table with its error. Files are written when all is done, or not at all.
Exit codes: 0 all evaluated, 1 one of several failed, 2 something to correct (nothing written).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import traceback
from typing import Any

import command_line
import rich.console
import rich.progress
import rich.table

with command_line.importing():
    from jaxcnn.evaluation import Entry, Options, Outputs, evaluate_network
    from jaxcnn.evaluation.predictions import check_path, write_predictions
    from jaxcnn.evaluation.record import failed_record, sorted_records, to_csv
    from jaxcnn.evaluation.report import MISTAKES, figures, make_report

# Beside the name and its weights, what the console shows of several networks; in percent.
_COLUMNS = ("top-1", "95% interval", "top-5", "loss", "ECE")


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    command_line.start_processes(options)
    from jaxcnn import processes

    jobs = _jobs(options)
    outputs = _planned(options, len(jobs))
    entries = [_evaluate(job, options, alone=len(jobs) == 1) for job in jobs]
    records = sorted_records([entry.record for entry in entries])
    failed = sum("error" in record for record in records)
    if not processes.is_main():
        return 1 if failed else 0
    _show(records)
    if options.json:
        value = records[0] if len(jobs) == 1 else records
        outputs.add(options.json, json.dumps(value, indent=2, allow_nan=False) + "\n")
    if options.csv:
        outputs.add(options.csv, to_csv(records))
    if options.report:
        outputs.add(options.report, make_report(entries, mistakes=options.report_mistakes))
    for number, entry in enumerate(entries, start=1):
        if options.figures and entry.result is not None:
            folder = options.figures / (str(number) if len(jobs) > 1 else "")
            for name, draw in figures(entry).items():
                outputs.add(folder / name, draw)
        if options.predictions and entry.result is not None:
            path = _numbered(options.predictions, number)
            outputs.add(path, lambda p, e=entry: write_predictions(p, e.result, e.source))
    for path in outputs.commit():
        print(f"wrote {path}")
    return 1 if failed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_network_arguments(parser, many=True)
    command_line.add_data_arguments(parser)
    parser.add_argument(
        "--views",
        choices=("none", "flip", "ten_crop"),
        default="none",
        help="test-time augmentation: average the probabilities of several views (none)",
    )
    parser.add_argument("--timing", action="store_true", help="measure latency and throughput too")
    group = parser.add_argument_group("images", "default: as the network was trained")
    group.add_argument("--image-size", type=int, metavar="N", help="input of N x N pixels")
    group.add_argument("--crop-pct", type=float, metavar="SHARE", help="kept by the centre crop")
    group.add_argument("--resize", choices=("shorter", "squash", "none"))
    group.add_argument("--interpolation", choices=("bilinear", "bicubic"))
    group = parser.add_argument_group("files")
    group.add_argument("--json", type=pathlib.Path, metavar="FILE", help="everything counted")
    group.add_argument("--csv", type=pathlib.Path, metavar="FILE", help="one row a network")
    group.add_argument("--figures", type=pathlib.Path, metavar="FOLDER", help="made if need be")
    group.add_argument("--report", type=pathlib.Path, metavar="FILE", help="one HTML page")
    group.add_argument(
        "--report-mistakes", type=int, default=MISTAKES, metavar="N", help=f"on it ({MISTAKES})"
    )
    group.add_argument(
        "--predictions",
        type=pathlib.Path,
        metavar="FILE",
        help="one row an example, .csv or .parquet; {n} in it becomes the network's number",
    )
    group.add_argument(
        "--scores",
        type=int,
        metavar="K",
        help="in --predictions: the K highest, -1 for all (all up to 100 classes, else 5)",
    )
    command_line.add_process_arguments(parser)
    options = parser.parse_args(arguments)
    command_line.check_data_arguments(options)
    command_line.check_at_least(options, "report_mistakes", 0)
    if options.scores is not None and options.predictions is None:
        raise ValueError("--scores says what --predictions FILE holds; give that too.")
    if options.scores is not None and (options.scores < -1 or options.scores == 0):
        raise ValueError(f"--scores {options.scores}: give a number from 1, or -1 for all.")
    return options


def _jobs(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Each network, and of runs each checkpoint."""
    checkpoints = options.checkpoint.split(",")
    for text in checkpoints:
        if text != "all":
            command_line.checkpoint(text)
    jobs = []
    for name in options.network:
        folder = pathlib.Path(name) / "checkpoints"
        if not folder.is_dir():
            jobs.append((name, "last"))
        elif "all" in checkpoints:
            found = sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())
            jobs += [(name, str(step)) for step in found] or [(name, "last")]
        else:
            jobs += [(name, text) for text in checkpoints]
    return jobs


def _planned(options: argparse.Namespace, count: int) -> Outputs:
    """Refuses files that could not be written, before anything is computed."""
    outputs = Outputs()
    if options.predictions is not None:
        check_path(options.predictions)
        if count > 1 and "{n}" not in options.predictions.name:
            raise ValueError(
                f"--predictions {options.predictions}: {count} networks need a file each; write "
                "{n} where the number goes, as in predictions-{n}.csv."
            )
    paths = [options.json, options.csv, options.report]
    if options.predictions is not None:
        paths += [_numbered(options.predictions, n) for n in range(1, count + 1)]
    given = [path for path in paths if path is not None]
    if len({path.absolute() for path in given}) < len(given):
        raise ValueError("Two of the files to write have the same name.")
    for path in given:
        outputs.check(path)
    return outputs


def _numbered(path: pathlib.Path, number: int) -> pathlib.Path:
    return path.with_name(path.name.replace("{n}", str(number)))


def _evaluate(job: tuple[str, str], options: argparse.Namespace, *, alone: bool) -> Entry:
    name, checkpoint = job
    try:
        network = command_line.load_network(options, name, checkpoint)
        return _evaluate_loaded(network, options)
    except Exception as error:
        # Processes that fail one by one would wait for each other: there an error ends all.
        if alone or command_line.several_processes():
            raise
        if not isinstance(error, ValueError | OSError | FloatingPointError):
            traceback.print_exc()
        return Entry(failed_record(name, error, network=name, checkpoint=checkpoint))


def _evaluate_loaded(network: Any, options: argparse.Namespace) -> Entry:
    source = command_line.open_data(options, network)
    wanted = (None if options.scores is None else options.scores) if options.predictions else 0
    size = (options.image_size, options.image_size) if options.image_size else None
    changed = {
        "image_size": size,
        "crop_pct": options.crop_pct,
        "resize": options.resize,
        "interpolation": options.interpolation,
    }
    how = Options(
        batch_size=options.batch_size,
        views=options.views,
        scores=wanted,
        threads=options.threads,
        max_bad=options.max_bad,
        timed=options.timing,
        preprocess={k: v for k, v in changed.items() if v is not None},
    )
    with rich.progress.Progress(
        console=rich.console.Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task(network.name, total=len(source))
        return evaluate_network(
            network, source, how, progress=lambda done: bar.update(task, completed=done)
        )


def _show(records: list[Any]) -> None:
    console = rich.console.Console()
    if len(records) == 1:
        table = rich.table.Table(show_header=False)
        for name, value in _flat(records[0]).items():
            table.add_row(name, str(value))
        console.print(table)
        return
    table = rich.table.Table("network", *_COLUMNS)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.no_wrap, column.justify = True, "right"
    for record in records:
        if "error" in record:
            what = f"{record['network']} ({record['checkpoint']})\n[red]failed[/]"
            table.add_row(what)
            continue
        step = f", step {record['step']}" if record["step"] is not None else ""
        low, high = record["top1_interval95"]
        table.add_row(
            f"{record['network']}\n{record['model']}{step}",
            f"{record['top1']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{record['top5']:.2f}",
            f"{record['loss']:.4f}",
            f"{record['ece']:.4f}",
        )
    console.print(table)
    for record in records:
        if "error" in record:
            console.print(f"{record['network']} failed: {record['error']}", markup=False)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """What a person reads first; the rest is in the JSON."""
    low, high = record["top1_interval95"]
    shown = {k: v for k, v in record.items() if not isinstance(v, dict | list) and v is not None}
    shown |= {"top1_interval95": f"{low} to {high}"}
    for name, value in record.get("timing", {}).items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        shown[name] = text
    return shown


if __name__ == "__main__":
    command_line.run(main)
