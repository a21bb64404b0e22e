"""Write a page on which one sees a network work.

python scripts/explore.py RUN [-o page.html]
python scripts/explore.py WEIGHTS --model NAME --images PHOTO ... [-o page.html]
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import command_line

# Photos of a dataset, unless told how many.
PHOTOS = 10


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    from jaxcnn import explore

    output = options.output
    if not output.parent.is_dir():
        raise ValueError(f"{output.parent} is no folder; make it, or write elsewhere (-o FILE).")
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name a file in it (-o {output}/page.html).")
    limits = explore.Limits(
        max_mb=options.max_mb,
        photos=options.photos or (len(options.images) or None),
        channels=options.channels,
        layers=tuple(options.layers) if options.layers else None,
    )
    network = command_line.load_network(options)
    second = command_line.load_second(options.mlp) if options.mlp else None
    network, photos = read(network, options)
    content = explore.build_content(network, photos, second=second, limits=limits)
    size = explore.write_page(content, output, limits)
    shown = len(content.record["photos"])
    left = f" of {len(photos)} (--max-mb {options.max_mb:g})" if shown < len(photos) else ""
    print(f"{output}: {network.name}, {shown}{left} photos, {size / 1e6:.1f} MB")
    return 0
