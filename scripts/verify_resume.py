"""Prove that a run of yours can be interrupted: verify_resume.py CONFIG [--field value ...]

Trains a short run of the config twice on this machine: once straight, once killed by SIGKILL in the
middle and started again. Compares parameters, statistics, optimizer, moving average, keys and the
examples of every step, bit for bit; with steps_per_dispatch=K, whose blocks show no batch, all but
the examples. Exit codes: 0 equal, 1 something differs (the first difference is named), 2 something
to correct.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import command_line

with command_line.importing():
    from jaxcnn.train import prove


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--run"]:
        prove.run_once(prove.read_config(pathlib.Path(arguments[1])), pathlib.Path(arguments[2]))
        return 0
    parser = command_line.Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", help="a name in configs/, or a .py file")
    parser.add_argument(
        "--steps", type=int, default=12, help="length of the two runs (12), in dispatches"
    )
    parser.add_argument("--folder", type=pathlib.Path, help="default: runs/verify_resume/CONFIG")
    known, rest = parser.parse_known_args(arguments)
    if known.steps < 4:
        raise ValueError(f"--steps {known.steps}: a run to interrupt needs at least 4.")
    config = command_line.parse_config(
        known.config, rest, usage=f"verify_resume.py {known.config} [--steps N]"
    )
    size = config.steps_per_dispatch
    every = max(1, known.steps // 6)
    config = prove.shortened(config, known.steps * size, every=every * size)
    name = pathlib.Path(known.config).stem
    folder = (known.folder or pathlib.Path("runs", "verify_resume", name)).resolve()
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--run"]
    kill_at = known.steps // 3 * size
    wrong = prove.prove(config, folder, command, kill_at=kill_at, say=print)
    if not wrong:
        examples = ", and the examples of every step" if size == 1 else ""
        print(f"equal: every array of the state{examples}")
        return 0
    print(f"DIFFERENT in {len(wrong)} places, the first is\n  {wrong[0]}")
    for line in wrong[1:10]:
        print(f"  {line}")
    return 1


if __name__ == "__main__":
    command_line.run(main)
