"""Downloads, prepares, converts and lists datasets.

python scripts/prepare_data.py cifar10               # download and prepare (needs TensorFlow)
python scripts/prepare_data.py --convert ~/tensorflow_datasets/cifar10/3.0.2
python scripts/prepare_data.py --list
"""

from __future__ import annotations

import argparse

import command_line

with command_line.importing():
    from jaxcnn.data.prepare import convert, format_prepared, prepare


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "name", nargs="?", help="dataset to download and prepare: a TFDS name, or digits"
    )
    what.add_argument(
        "--convert", metavar="DATASET", help="folder or name of a dataset in TFRecord"
    )
    what.add_argument("--list", action="store_true", help="show what is prepared on this machine")
    parser.add_argument("--data-dir", help="where to write (with --list: where to look first)")
    parser.add_argument("--manual-dir", help="files that were downloaded by hand (imagenet2012)")
    options = parser.parse_args(arguments)
    if options.list:
        print(format_prepared(options.data_dir))
    elif options.convert:
        print(convert(options.convert, data_dir=options.data_dir))
    else:
        print(prepare(options.name, data_dir=options.data_dir, manual_dir=options.manual_dir))
    return 0


if __name__ == "__main__":
    command_line.run(main)
