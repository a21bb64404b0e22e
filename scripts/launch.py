"""Run a script as several processes on this machine: launch.py N -- scripts/train.py CONFIG ...

Each line of output starts with [its process]. Ctrl-C and SIGTERM go on to every process; if one
fails the others are ended. Exit code: 0 if all gave 0, else that of the first failure.
On clusters use srun, mpirun or the pod's own start instead; train.py finds them by itself.
"""

from __future__ import annotations

import argparse
import pathlib

import command_line

with command_line.importing():
    from jaxcnn import launcher


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="launch.py N [--devices D] -- SCRIPT ARGUMENTS",
    )
    parser.add_argument("count", type=int, metavar="N", help="processes")
    parser.add_argument("--devices", type=int, metavar="D", help="devices of each process")
    # What stands behind -- belongs to the script, even where it looks like an option of this one.
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options, rest = parser.parse_known_args(arguments[:cut])
    if rest and rest[0].startswith("-"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        raise ValueError(f"Write -- before the script: launch.py {options.count} -- {rest[0]} ...")
    return launcher.launch(options.count, _found(arguments[cut + 1 :]), devices=options.devices)


def _found(command: list[str]) -> list[str]:
    """The command, with a script that stands beside this one where no path is given."""
    if not command or not command[0].endswith(".py") or pathlib.Path(command[0]).is_file():
        return command
    beside = pathlib.Path(__file__).parent / command[0]
    if not beside.is_file():
        raise ValueError(f"{command[0]} is no file; name a script, as in scripts/train.py.")
    return [str(beside), *command[1:]]


if __name__ == "__main__":
    command_line.run(main)
