"""Draw what a network learned: kernels, feature maps, Grad-CAM, receptive fields and more.

python scripts/visualize.py RUN_OR_WEIGHTS [--images PATH ...] [--only cam,kernels] [--layer TAP]
python scripts/visualize.py RUN RUN ...      (learning curves of several runs in one figure)
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import command_line
import rich.console


def parser() -> argparse.ArgumentParser:
    from jaxcnn.visualize.canvas import FORMATS

    parse = command_line.Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command_line.add_network_arguments(parse, many=True)
    photos = parse.add_argument_group("photos", "default: the first of a run's evaluation split")
    photos.add_argument("--images", nargs="+", type=pathlib.Path, metavar="PATH", help="or folders")
    command_line.add_resize_argument(photos)
    photos.add_argument("--dataset", metavar="NAME", help="a TFDS name, folder:PATH, or digits")
    photos.add_argument("--split", help="of the dataset (a run's evaluation split, or test)")
    photos.add_argument("--data-dir", metavar="DIR", help="where TFDS datasets lie")
    photos.add_argument("--count", type=int, default=6, help="photos of the dataset (6)")
    parse.add_argument("--only", metavar="KIND,KIND", help="see --list (all that make sense)")
    parse.add_argument("--list", action="store_true", help="show the kinds of pictures, and end")
    parse.add_argument("--layer", metavar="NAME", help="a tap or a module's path (each kind's own)")
    parse.add_argument("--class", dest="label", metavar="NAME", help="name or number (predicted)")
    parse.add_argument("--steps", type=int, default=200, help="of maximising an input (200)")
    parse.add_argument("--output", type=pathlib.Path, metavar="DIR", help="(RUN/figures)")
    parse.add_argument("--format", default="png", choices=FORMATS, help="(png)")
    return parse


def main(arguments: list[str]) -> int:
    if "--list" in arguments:
        return _list_kinds()
    options = parser().parse_args(arguments)
    from jaxcnn.visualize import draw_pictures

    only = [name.strip() for name in (options.only or "").split(",") if name.strip()]
    several = len(options.network) > 1
    if several and only not in ([], ["curves"]):
        raise ValueError(
            f"--only {options.only} looks at one network; {len(options.network)} are given."
        )
    one_run = not several and (pathlib.Path(options.network[0]) / "config.json").is_file()
    folder = options.output or pathlib.Path(options.network[0] if one_run else ".") / "figures"
    if several or "curves" in only:
        _curves(options.network, folder / f"learning_curves.{options.format}")
        only = [name for name in only if name != "curves"]
        if not only:
            return 0

    network = command_line.load_network(options, options.network[0])
    network = command_line.resized(network, options)
    subject = _subject(options, network)
    status = rich.console.Console(stderr=True).status("")  # on terminals alone

    def begin(name: str) -> None:
        status.update(name)
        status.start()

    try:
        for name, result in draw_pictures(subject, folder, only, form=options.format, begin=begin):
            status.stop()
            print(result if isinstance(result, pathlib.Path) else f"{name}: left out, {result}")
    finally:
        status.stop()
    return 0


def _list_kinds() -> int:
    from jaxcnn.visualize import KINDS

    for name, kind in {"curves": None, **KINDS}.items():
        print(f"{name:<10} {kind.shows if kind else 'learning curves of one or several runs'}")
    return 0


def _curves(sources: list[str], path: pathlib.Path) -> None:
    from jaxcnn.train.figures import read_curves
    from jaxcnn.visualize import draw_runs

    draw_runs(read_curves(sources), path)
    print(path)


def _subject(options: argparse.Namespace, network):
    """The network and its photos: files, a dataset's first, or a run's own; or none."""
    from jaxcnn.data.folder import photo_files
    from jaxcnn.train.figures import make_subject
    from jaxcnn.visualize import Ascent, Subject

    source = None if options.images else command_line.open_photos(options, network)
    if source is None:
        photos = command_line.read_photos(photo_files(options.images or []), network.preprocess)
        fields = {n: getattr(network, n) for n in ("name", "model", "variables", "preprocess")}
        subject = Subject(class_names=network.class_names, photos=photos, **fields)
    else:
        subject = make_subject(network, source, options.count)
    label = _class(options.label, subject.class_names)
    return dataclasses.replace(
        subject, layer=options.layer, classes=label, ascent=Ascent(steps=options.steps)
    )


def _class(label: str | None, names) -> int | None:
    if label is None:
        return None
    if label in names:
        return names.index(label)
    if not label.isdigit() or int(label) >= len(names):
        listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise ValueError(f"--class {label!r}: give a number below {len(names)}, or of {listed}.")
    return int(label)


if __name__ == "__main__":
    command_line.run(main)
