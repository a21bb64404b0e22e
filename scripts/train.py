"""Train a network: python scripts/train.py CONFIG [--field value ...] [--workdir DIR]

CONFIG is a name in configs/ or a Python file with a function config(). Each field of the config
can be given: --model cifar_resnet56 --optimizer.learning-rate 0.05 --length 10epochs. The same
command again resumes. Ctrl-C and SIGTERM save first. Exit codes: 0 done or saved on SIGTERM,
130 saved on Ctrl-C, 2 something to correct.

--dry-run trains and writes nothing: it prints the resolved config, steps, learning rates, FLOPs,
the step's memory by formula and as compiled, and the largest batch that fits.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import command_line


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False
    )
    parser.add_argument("config", nargs="?", help="a name in configs/, or a .py file")
    parser.add_argument("--workdir", help="a folder or gs://BUCKET/PATH (runs/CONFIG)")
    command_line.add_process_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan, train nothing")
    parser.add_argument(
        "--plan-json", type=pathlib.Path, metavar="FILE", help="write the plan there too"
    )
    parser.add_argument(
        "--plan-data",
        type=int,
        nargs=2,
        metavar=("EXAMPLES", "CLASSES"),
        help="of a split that is not here, to plan for",
    )
    parser.add_argument("--plan-memory", type=float, metavar="GB", help="of the device planned for")
    parser.add_argument("--no-compile", action="store_true", help="plan by formula alone")
    parser.add_argument(
        "--profile", type=int, default=0, metavar="STEPS", help="trace so many, for TensorBoard"
    )
    known, rest = parser.parse_known_args(arguments)
    wants_help = bool({"-h", "--help"} & set(arguments))
    if wants_help:
        print(parser.format_help())
    if known.config is None or known.config.startswith("-"):
        names = ", ".join(sorted(p.stem for p in command_line.RECIPES.glob("*.py")))
        if not wants_help:
            raise ValueError(f"Name a config first, one of {names}; --help shows how.")
        print(f"Configs: {names}\nFields: train.py CONFIG --help")
        return 0
    # Here, as the list of the configs needs none of it.
    from jaxcnn import processes
    from jaxcnn.train import fit

    config = command_line.parse_config(
        known.config,
        rest,
        usage=f"train.py {known.config} [--workdir DIR] [--dry-run]",
        description="The fields of the config, with their values now.",
    )
    workdir = known.workdir or pathlib.Path("runs", pathlib.Path(known.config).stem)
    if known.dry_run:
        return _dry_run(config, workdir, known)
    command_line.start_processes(known)
    result = fit(config, workdir, profile_steps=known.profile)
    if result.status == "interrupted":
        return 130 if result.signal == "SIGINT" else 0
    if processes.is_main():
        print(f"everything is in {workdir}")
    return 0


def _dry_run(config, workdir: str | pathlib.Path, options: argparse.Namespace) -> int:
    from jaxcnn import buckets
    from jaxcnn.evaluation import Outputs
    from jaxcnn.train import plan
    from jaxcnn.train.run import folder_state

    if options.plan_memory is not None and not options.plan_memory > 0:
        raise ValueError(f"--plan-memory {options.plan_memory:g}: give more than 0, in GB.")
    outputs = Outputs()
    if options.plan_json:
        outputs.check(options.plan_json)
    found = plan(
        config,
        assume=tuple(options.plan_data) if options.plan_data else None,
        compile=not options.no_compile,
        limit=None if options.plan_memory is None else int(options.plan_memory * 1e9),
    )
    print(found)
    if options.plan_json:
        outputs.add(options.plan_json, json.dumps(found.to_dict(), indent=2) + "\n")
    outputs.commit()
    if not buckets.is_url(workdir):
        folder = pathlib.Path(workdir).expanduser()
        print(folder_state(folder, config, found.total_steps))
    return 0


if __name__ == "__main__":
    command_line.run(main)
