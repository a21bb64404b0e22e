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

with command_line.importing():
    from jaxcnn.data import open_source


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_probe_arguments(parser, eval_help="default: test; none scores nothing")
    parser.add_argument("--solver", choices=("lbfgs", "sgd"), default="lbfgs")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation (5)")
    parser.add_argument("--output", type=pathlib.Path, help="a new folder for the network")
    options = parser.parse_args(arguments)
    command_line.check_at_least(options, "folds", 2)
    command_line.check_at_least(options, "batch_size", 1)

    from jaxcnn import probe
    from jaxcnn.evaluation import Outputs

    outputs = Outputs()
    if options.json:
        outputs.check(options.json)
    if options.output:
        probe.check_new_folder(options.output)
    network = command_line.load_network(options)
    train = command_line.open_train_split(options)
    test = None
    if options.eval_split != "none":
        test = open_source(options.dataset, options.eval_split, data_dir=options.data_dir)
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
        outputs.add(options.json, json.dumps(report, indent=2) + "\n")
    outputs.commit()
    return 0


if __name__ == "__main__":
    command_line.run(main)
