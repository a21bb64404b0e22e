"""Show a network's layers, or several networks side by side, without running anything.

python scripts/summarize.py MODEL [--image-size 224] [--format text|...] [-o FILE]
python scripts/summarize.py --compare alexnet googlenet resnet50
python scripts/summarize.py --list ['resnet*']
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sys

import command_line

FORMATS = ("text", "markdown", "json", "csv", "html")
SUFFIXES = {
    ".md": "markdown",
    ".json": "json",
    ".csv": "csv",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
}


def parser() -> argparse.ArgumentParser:
    parse = command_line.Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parse.add_argument("model", nargs="?", metavar="MODEL", help="a name; a wrong one lists near")
    parse.add_argument("--compare", nargs="+", metavar="MODEL", help="networks side by side")
    parse.add_argument(
        "--list", nargs="?", const="*", metavar="PATTERN", help="print the networks' names, and end"
    )
    parse.add_argument(
        "--image-size", type=command_line.image_size, metavar="N or HxW", help="its own"
    )
    parse.add_argument("--batch-size", type=int, default=1, help="images at once (1)")
    parse.add_argument("--channels", type=int, help="of the images (the network's own)")
    parse.add_argument("--num-classes", type=int, help="outputs (the network's own; 0: no head)")
    parse.add_argument("--format", choices=FORMATS, help="text, or as FILE's suffix says")
    parse.add_argument("-o", "--output", type=pathlib.Path, metavar="FILE", help="stdout")
    parse.add_argument("--width", type=int, help="columns of text (the terminal's)")
    return parse


def _style(output: pathlib.Path | None) -> str:
    """The format that a file's ending asks for."""
    if output is None:
        return "text"
    if output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"-o {output}: the ending must be one of {', '.join(SUFFIXES)}.")
    return SUFFIXES[output.suffix.lower()]


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    if options.list is not None:
        return _list(options.list)
    _style(options.output)
    if bool(options.model) == bool(options.compare):
        raise ValueError("Give either one MODEL or --compare MODEL MODEL ...; --help shows how.")
    from jaxcnn.analysis import compare, summarize

    fields = {} if options.num_classes is None else {"num_classes": options.num_classes}
    numbers = (options.image_size, options.batch_size, options.channels)
    if options.compare:
        result = compare(options.compare, *numbers, **fields)
    else:
        result = summarize(options.model, *numbers, **fields)

    style = options.format or _style(options.output)
    if style == "text":
        screen = options.output is None and sys.stdout.isatty()
        width = options.width or (shutil.get_terminal_size().columns if screen else 160)
        page = result.to_text(width, color=screen)
    else:
        page = getattr(result, f"to_{style}")()
    if options.output:
        options.output.write_text(page + "\n", encoding="utf-8")
        print(f"wrote {options.output}")
        return 0
    try:
        print(page, flush=True)
    except BrokenPipeError:  # `| head` has seen enough; what is left must not be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _list(pattern: str) -> int:
    from jaxcnn.models import list_models

    names = list_models(pattern)
    if not names:
        raise ValueError(f"No network is named like {pattern!r}; --list alone prints all names.")
    print("\n".join(names))
    return 0


if __name__ == "__main__":
    command_line.run(main)
