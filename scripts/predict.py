"""Name what is in images: python scripts/predict.py RUN_OR_WEIGHTS IMAGE... [--top 5]"""

from __future__ import annotations

import pathlib

import command_line
import jax
import numpy as np
import rich.console
import rich.table

from jaxcnn.data.augment import normalize


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(description=__doc__)
    command_line.add_network_arguments(parser)
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE")
    parser.add_argument("--top", type=int, default=5, help="classes shown for each image (5)")
    command_line.add_resize_argument(parser)
    options = parser.parse_args(arguments)
    command_line.check_at_least(options, "top", 1)

    loaded = command_line.resized(command_line.load_network(options), options)
    pixels = command_line.read_photos(options.images, loaded.preprocess)
    inputs = normalize(pixels, loaded.preprocess.mean, loaded.preprocess.std)
    logits = jax.jit(loaded.model.apply, static_argnames="train")(
        loaded.variables, inputs, train=False
    )
    probabilities = np.asarray(jax.nn.softmax(logits))
    table = rich.table.Table("image", "class", "probability")
    for path, row in zip(options.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[: options.top]
        for place, c in enumerate(best):
            name = "" if place else str(path)
            table.add_row(name, loaded.class_names[c], f"{row[c]:.2%}", end_section=c == best[-1])
    rich.console.Console().print(table)
    return 0


if __name__ == "__main__":
    command_line.run(main)
