"""Measure speed on this machine, alone or against others.

python scripts/benchmark.py resnet50 --batch-size 16 [--mode infer] [--against torch] [--json FILE]
python scripts/benchmark.py resnet50 --dataset imagenet2012 --against synthetic
python scripts/benchmark.py --input imagenet2012 --cores 2 [--rate 2400] [--against tf.data]
python scripts/benchmark.py --suite gpu ['resnet50*'] --json gpu.json

A network's step: --against runs the same case elsewhere in turn, round by round, and gives the
ratio. `torch` and `torch.compile` need PyTorch (pip install '.[peers]'), `plain` is this library
without its fast forms, `synthetic` without the dataset. On a CPU, --devices 2 splits the batch over
two virtual devices.
The input alone: records, decoding, crop, resize, batch. `pillow` is without the compiled decoder;
`tf.data` needs an interpreter with TensorFlow. --rate R says how many cores would feed R images/s.
A suite is a table; other arguments change all its rows, and the model's place takes a pattern.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import command_line

with command_line.importing():
    from jaxcnn.benchmark import Case, InputCase, environment, measure
    from jaxcnn.benchmark.case import MODES, RANDOM, SIDES
    from jaxcnn.benchmark.feeding import SIDES as INPUT_SIDES
    from jaxcnn.benchmark.feeding import cores_for
    from jaxcnn.benchmark.suite import SUITES, choose, run_suite

SHARES = {
    "matrix_share": "of the products",
    "memory_share": "of the memory's speed",
    "busy_share": "busy",
}


def parser() -> argparse.ArgumentParser:
    parse = command_line.Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # What was not given keeps the default of the case, or of a suite's row.
        argument_default=argparse.SUPPRESS,
    )
    parse.add_argument("model", nargs="?", help="a name; with --suite a pattern of rows")
    parse.add_argument("--input", metavar="DATASET", help="measure the input alone")
    parse.add_argument("--suite", choices=SUITES, help="measure a table")
    parse.add_argument("--batch-size", type=int, help="over all devices (32; input 64)")
    parse.add_argument("--image-size", type=int, help="pixels (what the network is made for)")
    parse.add_argument("--cores", type=int, help="processor cores of each side (all)")
    parse.add_argument("--steps", type=int, help="in a round (5; input 24)")
    parse.add_argument("--rounds", type=int, help="of each side (5)")
    sides = ", ".join(dict.fromkeys((*SIDES, *INPUT_SIDES)))
    parse.add_argument("--against", nargs="+", default=[], metavar="SIDE", help=sides)
    parse.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the result there")
    parse.add_argument("--split", help="of the dataset (train)")
    parse.add_argument("--data-dir", help="where TFDS datasets lie")
    step = parse.add_argument_group("a step")
    step.add_argument("--mode", choices=MODES, help="(train)")
    step.add_argument("--dtype", choices=("float32", "bfloat16"), help="(float32)")
    step.add_argument("--devices", type=int, help="on a CPU, virtual ones (1)")
    step.add_argument("--mapping", choices=("jit", "fsdp", "pmap"), help="(jit)")
    step.add_argument(
        "--dataset", help=f"train on its images (one batch that stays); {RANDOM}: on 50,000 random"
    )
    step.add_argument("--steps-per-dispatch", type=int, metavar="K", help="in one program (1)")
    for what, text in (
        ("busy", "share of the time a GPU computes, from a trace"),
        ("limits", "the device's, and the shares of them that a step uses"),
    ):
        step.add_argument(f"--{what}", action="store_true", default=False, help=text)
    feed = parse.add_argument_group("the input")
    feed.add_argument("--crop", choices=("random", "evaluation"), help="(random for photos)")
    feed.add_argument("--threads", type=int, help="that decode (as many as cores)")
    feed.add_argument("--rate", type=float, default=None, help="images/s that are to be fed")
    feed.add_argument("--tensorflow", metavar="PYTHON", help="interpreter of the side tf.data")
    return parse


def main(arguments: list[str]) -> int:
    options = vars(parser().parse_args(arguments))
    against, path, rate = (options.pop(name, None) for name in ("against", "json", "rate"))
    also = tuple(name for name in ("busy", "limits") if options.pop(name))
    if path and not path.parent.is_dir():
        raise ValueError(f"--json {path}: there is no folder {path.parent}.")
    if path and path.is_dir():
        raise ValueError(f"--json {path} is a folder; give a file in it.")
    if rate is not None and ("input" not in options or not rate > 0):
        raise ValueError(f"--rate {rate} goes with --input and must be positive.")
    if "suite" in options:
        refuse(options, "suite", {f.name for f in dataclasses.fields(Case)} - {"dataset"})
        if against or also:
            raise ValueError("A suite's rows have their own sides; leave --against out.")
        rows = choose(options.pop("suite"), options.pop("model", "*"))
        result: dict[str, Any] = {"rows": run_suite(rows, options, report=show_row)}
    else:
        result = one(options, ("jaxcnn", *against), also, rate)
    if path:
        path.write_text(json.dumps(environment() | result, indent=2) + "\n")
    return 0


def one(
    options: dict[str, Any], sides: tuple[str, ...], also: tuple[str, ...], rate: float | None
) -> dict[str, Any]:
    """Measures a step, or an input, and prints it."""
    if "input" in options:
        refuse(options, "input", {f.name for f in dataclasses.fields(InputCase)})
        options["dataset"] = options.pop("input")
        case: Case | InputCase = InputCase(**options)
    elif "model" in options:
        refuse(options, "model", {f.name for f in dataclasses.fields(Case)})
        case = Case(**options)
    else:
        raise ValueError("Give a network's name, --input DATASET or --suite NAME; --help tells.")
    result = measure(case, sides, also=also)
    show(result)
    if rate is not None and isinstance(case, InputCase):
        found = result["sides"]["jaxcnn"]["images_per_second"]
        cores = case.cores or case.workers
        result["cores_for_rate"] = {"rate": rate, "cores": cores_for(rate, found, cores)}
        print(f"{result['cores_for_rate']['cores']} such cores feed {rate:,.0f} images/s")
    return result


def refuse(options: dict[str, Any], what: str, known: set[str]) -> None:
    """Raises ValueError for an argument that says nothing here."""
    for name in options:
        if name not in known | {what, "model"} or (what == "input" and name == "model"):
            argument = name if name == "model" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{argument} does not go with {what}; leave one of the two out.")


def show_row(name: str, result: dict[str, Any]) -> None:
    print(f"{name}:", flush=True)
    if "error" in result:
        print(f"  not measured: {result['error']}", flush=True)
    else:
        show(result, "  ")


def show(result: dict[str, Any], indent: str = "") -> None:
    for side, values in result["sides"].items():
        line = f"{indent}{side:14} {values['images_per_second']:9.2f} images/s"
        if "compile_seconds" in values:
            line += f"  {values['step_milliseconds']:9.2f} ms a step"
            line += f"  {values['compile_seconds']:6.1f} s to compile"
        else:
            line += f"  {1e3 / values['cpu_milliseconds_per_image']:9.2f} for a processor second"
        if values["peak_bytes"]:
            line += f"  {max(values['peak_bytes'].values()) / 1e9:5.2f} GB at the peak"
        for share, text in SHARES.items():
            if values.get(share) is not None:
                line += f"  {values[share]:.0%} {text}"
        print(line, flush=True)
    for side, ratio in result["ratios"].items():
        print(
            f"{indent}{ratio['speed']['median']:.2f} times the speed of {side}, "
            f"{ratio['processor_time']['median']:.2f} times per processor second",
            flush=True,
        )


if __name__ == "__main__":
    command_line.run(main)
