"""Write a page on which one sees a network work.

python scripts/explore.py RUN [-o page.html]
python scripts/explore.py WEIGHTS --model NAME --images PHOTO ... [-o page.html]
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import command_line
import rich.console

# Photos of a dataset, unless told how many.
PHOTOS = 10


def parser() -> argparse.ArgumentParser:
    parse = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_network_arguments(parse)
    add = parse.add_argument
    add("--images", nargs="+", type=pathlib.Path, default=[], metavar="PATH", help="or folders")
    command_line.add_resize_argument(parse)
    add("--dataset", help="photos of it instead, some of each class (a run's own)")
    add("--split", help="of the dataset (a run's evaluation split, or test)")
    add("--data-dir", help="where TFDS datasets lie")
    add("--photos", type=int, metavar="N", help=f"how many ({PHOTOS}, or all --images)")
    add("--channels", type=int, metavar="N", help="of each layer of a large network (16)")
    add("--layers", nargs="+", metavar="PATTERN", help="of a large network, such as 'stage4*'")
    add("--max-mb", type=float, default=25.0, help="limit of the page's size (25)")
    add("--mlp", metavar="RUN", help="a second network, whose scores under shifts are compared")
    add("-o", "--output", type=pathlib.Path, default=pathlib.Path("explore.html"), metavar="FILE")
    return parse


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    from jaxcnn import explore, load_network

    output = options.output
    if not output.parent.is_dir():
        raise ValueError(f"{output.parent} is no folder; make it, or write elsewhere (-o FILE).")
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name a file in it (-o {output / 'page.html'}).")
    limits = explore.Limits(
        max_mb=options.max_mb,
        photos=options.photos,
        channels=options.channels,
        layers=tuple(options.layers) if options.layers else None,
    )
    network = command_line.resized(command_line.load_network(options), options)
    second = load_network(options.mlp) if options.mlp else None
    network, photos = read(network, options)
    if options.images and options.photos is None:  # each of them was asked for
        limits = dataclasses.replace(limits, photos=len(photos))
    with rich.console.Console(stderr=True).status("the layers") as status:  # on terminals alone
        content = explore.build_content(
            network, photos, second=second, limits=limits, progress=status.update
        )
    size = explore.write_page(content, output, limits)
    shown = len(content.record["photos"])
    left = f" of {len(photos)} (more do not fit: --max-mb)" if shown < len(photos) else ""
    print(f"{output}: {network.name}, {shown}{left} photos, {size / 1e6:.1f} MB")
    return 0


def read(network, options: argparse.Namespace):
    """The photos, and the network with its classes' names."""
    from jaxcnn import explore
    from jaxcnn.train.figures import with_names_of

    if options.images:
        files = explore.photo_files(options.images)
        return network, [explore.read_photo(path, network.preprocess) for path in files]
    source = command_line.open_photos(options, network)
    if source is None:
        raise ValueError("Which photos? Give --images FILE ..., or --dataset NAME.")
    photos = explore.source_photos(source, network.preprocess, options.photos or PHOTOS)
    network, known = with_names_of(network, source)
    return network, photos if known else [dataclasses.replace(p, truth=None) for p in photos]


if __name__ == "__main__":
    command_line.run(main)
