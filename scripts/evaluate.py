"""Evaluate a run: python scripts/evaluate.py RUN [--dataset NAME] [--split NAME] [--json FILE]"""

from __future__ import annotations

import argparse
import json
import pathlib

import command_line
import rich.console
import rich.table

import jaxcnn
from jaxcnn.data import open_source
from jaxcnn.train import load_run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=pathlib.Path, help="the folder that train.py wrote to")
    parser.add_argument("--dataset", help="default: the run's")
    parser.add_argument("--split", help="default: the run's evaluation split")
    parser.add_argument("--data-dir", help="where TFDS datasets lie")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (last)")
    parser.add_argument("--batch-size", type=int, default=256, help="over all devices (256)")
    parser.add_argument("--json", type=pathlib.Path, help="write the result to this file")
    options = parser.parse_args(arguments)
    if options.batch_size < 1:
        raise ValueError(f"--batch-size {options.batch_size} must be at least 1.")

    loaded = load_run(options.run, command_line.checkpoint(options.checkpoint))
    data = loaded.config.data
    source = open_source(
        options.dataset or data.dataset,
        options.split or data.eval_split,
        data_dir=options.data_dir or data.data_dir,
    )
    if tuple(source.class_names) != loaded.class_names:
        raise ValueError(
            f"{source.name!r} has {len(source.class_names)} classes, and not the "
            f"{len(loaded.class_names)} that the run was trained on "
            f"({', '.join(loaded.class_names[:5])}, ...); evaluate it on data with its own classes."
        )
    result = jaxcnn.evaluate(
        loaded.model,
        loaded.variables,
        source,
        preprocess=loaded.preprocess,
        batch_size=options.batch_size,
    )
    report = {
        "model": loaded.config.model,
        "dataset": source.name,
        "split": source.split,
        "step": loaded.step,
    } | result.summary()
    table = rich.table.Table(show_header=False)
    for name, value in report.items():
        table.add_row(name, str(value))
    rich.console.Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    command_line.run(main)
