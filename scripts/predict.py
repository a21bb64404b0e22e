"""Name what is in images: python scripts/predict.py RUN_OR_WEIGHTS IMAGE... [--top 5]

An image that cannot be read is named on stderr and the others are predicted; the exit code is
then 2.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterator

import command_line
import rich.console
import rich.table

with command_line.importing():
    import jax
    import numpy as np

    from jaxcnn.data.augment import normalize
    from jaxcnn.data.folder import photo_files

# Images in a batch: as many as fit any device, and few enough that the first results come soon.
BATCH = 64


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_network_arguments(parser)
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE", help="or folders")
    parser.add_argument("--top", type=int, default=5, help="classes shown for each image (5)")
    command_line.add_resize_argument(parser)
    options = parser.parse_args(arguments)
    command_line.check_at_least(options, "top", 1)

    network = command_line.resized(command_line.load_network(options), options)
    images = photo_files(options.images)

    @jax.jit
    def predict(variables, pixels):
        inputs = normalize(pixels, network.preprocess.mean, network.preprocess.std)
        return jax.nn.softmax(network.model.apply(variables, inputs, train=False))

    size = min(BATCH, len(images))
    predicted = 0
    for paths, photos in _batches(images, size, network.preprocess):
        # The last batch is filled up, so that one program is compiled.
        filled = np.zeros((size, *photos.shape[1:]), np.uint8)
        filled[: len(photos)] = photos
        rows = np.asarray(predict(network.variables, filled))[: len(photos)]
        _show(paths, rows, network.class_names, options.top, header=predicted == 0)
        predicted += len(paths)
    return 0 if predicted == len(images) else 2


def _batches(
    images: list[pathlib.Path], size: int, preprocess
) -> Iterator[tuple[list[pathlib.Path], np.ndarray]]:
    """The images that can be read, so many at a time; the others are named on stderr."""
    paths, photos = [], []
    for path in images:
        try:
            photos.append(command_line.read_photos([path], preprocess)[0])
            paths.append(path)
        except (ValueError, OSError) as error:
            print(f"error: {command_line.said(error)}", file=sys.stderr)
        if len(paths) == size:
            yield paths, np.stack(photos)
            paths, photos = [], []
    if paths:
        yield paths, np.stack(photos)


def _show(paths, probabilities: np.ndarray, names, top: int, *, header: bool) -> None:
    table = rich.table.Table("image", "class", "probability", show_header=header)
    for path, row in zip(paths, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        for place, c in enumerate(best):
            name = "" if place else str(path)
            table.add_row(name, names[c], f"{row[c]:.2%}", end_section=c == best[-1])
    rich.console.Console().print(table)


if __name__ == "__main__":
    command_line.run(main)
