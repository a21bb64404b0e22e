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


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_probe_arguments(parser, eval_help="for the config only (test)")
    parser.add_argument("--most", type=int, default=1000, help="examples that are probed (1000)")
    parser.add_argument("--config", type=pathlib.Path, help="write a config for train.py here")
    options = parser.parse_args(arguments)
    command_line.check_at_least(options, "most", 1)
    command_line.check_at_least(options, "batch_size", 1)

    if options.config and options.config.exists():
        raise ValueError(f"--config {options.config} exists; name a new file.")

    from jaxcnn import probe
    from jaxcnn.evaluation import Outputs

    outputs = Outputs()
    for path in filter(None, (options.json, options.config)):
        outputs.check(path)
    network = command_line.load_network(options)
    advice = probe.advise(
        network.model,
        network.variables,
        command_line.open_train_split(options),
        network.preprocess,
        weights=options.network,
        checkpoint=options.checkpoint,
        most=options.most,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    data = {
        name: getattr(options, name)
        for name in ("dataset", "train_split", "eval_split", "data_dir")
    }
    if options.config:
        text = probe.recipe_text(advice, network.name, network.preprocess, **data)
        outputs.add(options.config, text)
    if options.json:
        outputs.add(options.json, json.dumps(advice.to_dict(), indent=2) + "\n")
    outputs.commit()
    _print(advice)
    print("\n" + "\n".join(probe.commands(advice, network.name, config=options.config, **data)))
    return 0


def _print(advice) -> None:
    console = rich.console.Console()
    table = rich.table.Table("features", "channels", "top-1, cross-validated", "untrained")
    for depth in advice.depths:
        top1 = f"{depth.accuracy:.1%} ± {depth.spread:.1%}"
        table.add_row(depth.tap, str(depth.channels), top1, f"{depth.random:.1%}")
    console.print(table)
    console.print("\n".join(advice.lines()), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    command_line.run(main)
