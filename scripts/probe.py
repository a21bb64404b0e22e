"""Train a linear classifier on a network's features, which are computed once.

python scripts/probe.py RUN_OR_WEIGHTS [--model NAME] --dataset NAME [--output DIR]

The penalty is chosen by cross-validation on the training split. --output writes the network with
the classifier as its head to a folder that evaluate.py and predict.py open.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import command_line
import rich.console
import rich.table

from jaxcnn.data import check_source, open_source


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_network_arguments(parser)
    parser.add_argument("--dataset", required=True, help="a TFDS name, folder:PATH, or digits")
    parser.add_argument("--train-split", default="train", help="default: train")
    parser.add_argument("--eval-split", default="test", help="default: test; none scores nothing")
    parser.add_argument("--data-dir", help="where TFDS datasets lie")
    parser.add_argument("--solver", choices=("lbfgs", "sgd"), default="lbfgs")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of sgd (0)")
    parser.add_argument("--batch-size", type=int, default=256, help="of the features (256)")
    parser.add_argument("--output", type=pathlib.Path, help="a new folder for the network")
    parser.add_argument("--json", type=pathlib.Path, help="write the scores to this file")
    options = parser.parse_args(arguments)
    for name in ("folds", "batch_size"):
        if getattr(options, name) < (2 if name == "folds" else 1):
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)} is too small.")

    from jaxcnn import probe

    network = command_line.load_network(options)
    train = open_source(options.dataset, options.train_split, data_dir=options.data_dir)
    test = None
    if options.eval_split != "none":
        test = open_source(options.dataset, options.eval_split, data_dir=options.data_dir)
    check_source(train, num_classes=len(train.class_names), batch_size=1)
    result = probe.probe(
        network.model,
        network.variables,
        train,
        test,
        network.preprocess,
        solver=options.solver,
        folds=options.folds,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    report = {"source": network.source, "model": network.name, "dataset": options.dataset}
    report |= result.summary()
    if options.output:
        model, variables = probe.with_head(network.model, network.variables, result.classifier)
        names = tuple(train.class_names)
        folder = probe.save_folder(
            options.output, network.name, model, variables, network.preprocess, names
        )
        report["output"] = str(folder)
    table = rich.table.Table(show_header=False)
    for name, value in report.items():
        table.add_row(name, str(value))
    rich.console.Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    command_line.run(main)
