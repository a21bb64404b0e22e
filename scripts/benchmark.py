"""Measure a network's speed on this machine, alone or against PyTorch.

python scripts/benchmark.py resnet50 --batch-size 16 [--mode infer] [--against torch] [--json FILE]

--against runs the same case elsewhere in turn, round by round, and gives the ratio: `torch` and
`torch.compile` need PyTorch (pip install '.[peers]'), `plain` is this library without its fast
forms. On a CPU, --devices 2 splits the batch over two virtual devices.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import command_line

from jaxcnn.benchmark import Case, environment, measure
from jaxcnn.benchmark.case import MODES, SIDES


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("model", help="a name; a wrong one lists near")
    parse.add_argument("--mode", choices=MODES, default="train", help="(train)")
    parse.add_argument("--batch-size", type=int, default=32, help="over all devices (32)")
    parse.add_argument("--image-size", type=int, help="pixels (what the network is made for)")
    parse.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parse.add_argument("--devices", type=int, default=1, help="on a CPU, virtual ones (1)")
    parse.add_argument("--mapping", choices=("jit", "pmap"), default="jit", help="(jit)")
    parse.add_argument("--cores", type=int, help="processor cores of each side (all)")
    parse.add_argument("--dataset", help="train on its images (one batch held on the device)")
    parse.add_argument("--steps", type=int, default=5, help="in a round (5)")
    parse.add_argument("--rounds", type=int, default=5, help="of each side (5)")
    parse.add_argument("--against", nargs="+", default=[], metavar="SIDE", help=", ".join(SIDES))
    parse.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the result there")
    return parse


def main(arguments: list[str]) -> int:
    options = vars(parser().parse_args(arguments))
    against, path = options.pop("against"), options.pop("json")
    result = measure(Case(**options), ("jaxcnn", *against))
    for side, values in result["sides"].items():
        peak = max(values["peak_bytes"].values()) / 1e9
        print(
            f"{side:14} {values['images_per_second']:9.2f} images/s  "
            f"{values['step_milliseconds']:9.2f} ms a step  "
            f"{values['compile_seconds']:6.1f} s to compile  {peak:5.2f} GB at the peak"
        )
    for side, ratio in result["ratios"].items():
        print(
            f"{ratio['speed']['median']:.2f} times the speed of {side}, "
            f"{ratio['processor_time']['median']:.2f} times per processor second"
        )
    if path:
        path.write_text(json.dumps(environment() | result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    command_line.run(main)
