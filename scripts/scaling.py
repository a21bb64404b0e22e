"""Measure how a config trains on 1, 2, 4, 8 devices: scaling.py CONFIG [--field value ...]

Prints images/s, efficiency, and each step's time as computation, collectives that nothing hid, and
the wait for batches; says which of them binds. The examples on each device stay the same. CPU
devices are virtual and share the cores: efficiency falls as 1/N there once the cores are busy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib

import command_line

with command_line.importing():
    from jaxcnn.benchmark import environment
    from jaxcnn.benchmark.scaling import efficiencies, measure_scaling, scaling_lines
    from jaxcnn.evaluation import Outputs


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", help="a name in configs/, or a .py file")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N")
    parser.add_argument("--batch", type=int, metavar="B", help="on each device (the config's / N)")
    parser.add_argument("--steps", type=int, default=5, help="in a round (5)")
    parser.add_argument("--rounds", type=int, default=5, help="(5)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the result there")
    known, rest = parser.parse_known_args(arguments)
    config = command_line.parse_config(
        known.config, rest, usage=f"scaling.py {known.config} [--devices N ...]"
    )
    outputs = Outputs()
    if known.json:
        outputs.check(known.json)
    points = measure_scaling(
        config, known.devices, batch=known.batch, steps=known.steps, rounds=known.rounds
    )
    print(f"{known.config}, {points[0].batch} examples on each device\n\n{scaling_lines(points)}")
    if known.json:
        rows = [
            dataclasses.asdict(point) | {"verdict": point.verdict, "efficiency": round(share, 3)}
            for point, share in zip(points, efficiencies(points), strict=True)
        ]
        record = environment() | {"config": known.config, "points": rows}
        outputs.add(known.json, json.dumps(record, indent=2) + "\n")
    outputs.commit()
    return 0


if __name__ == "__main__":
    command_line.run(main)
