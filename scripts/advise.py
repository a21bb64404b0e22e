"""Say which layers to train: how much data, and how similar to what the network knows.

python scripts/advise.py RUN_OR_WEIGHTS [--model NAME] --dataset NAME [--config FILE.py]

Cross-validates a linear classifier on every stage's features of the training split, compares it
with the untrained network's, and recommends a regime with the command that trains it.
docs/transfer.md explains the table.
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
    parser.add_argument("--eval-split", default="test", help="for the config only (test)")
    parser.add_argument("--data-dir", help="where TFDS datasets lie")
    parser.add_argument("--most", type=int, default=1000, help="examples that are probed (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and the folds (0)")
    parser.add_argument("--batch-size", type=int, default=256, help="of the features (256)")
    parser.add_argument("--config", type=pathlib.Path, help="write a config for train.py here")
    parser.add_argument("--json", type=pathlib.Path, help="write the advice to this file")
    options = parser.parse_args(arguments)
    for name in ("most", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)} must be >= 1.")

    from jaxcnn import probe

    network = command_line.load_network(options)
    source = open_source(options.dataset, options.train_split, data_dir=options.data_dir)
    check_source(source, num_classes=len(source.class_names), batch_size=1)
    advice = probe.advise(
        network.model,
        network.variables,
        source,
        network.preprocess,
        weights=options.network,
        most=options.most,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    console = rich.console.Console()
    table = rich.table.Table("features", "channels", "top-1, cross-validated", "untrained")
    for depth in advice.depths:
        top1 = f"{depth.accuracy:.1%} ± {depth.spread:.1%}"
        table.add_row(depth.tap, str(depth.channels), top1, f"{depth.random:.1%}")
    console.print(table)
    console.print("\n".join(advice.lines()), soft_wrap=True, highlight=False)
    if options.config:
        text = probe.recipe_text(
            advice,
            network.name,
            network.preprocess,
            dataset=options.dataset,
            train_split=options.train_split,
            eval_split=options.eval_split,
        )
        options.config.write_text(text)
    commands = probe.commands(
        advice,
        network.name,
        dataset=options.dataset,
        splits=(options.train_split, options.eval_split),
        config=options.config,
    )
    print("\n" + "\n".join(commands))
    if options.json:
        options.json.write_text(json.dumps(advice.to_dict(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    command_line.run(main)
