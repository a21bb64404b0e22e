"""From the command to the first step, without and with compiled programs from an earlier run.

    python benchmarks/startup.py [--rounds 3]

Runs `scripts/train.py` for a few steps in a process of its own, with an empty folder for compiled
programs and again with what it left there, and reads the time from the run's own line. Datasets
are looked for in TFDS_DATA_DIR. Also the time of `import jaxcnn`, of `import jaxcnn.train` and of
`--help`. Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import report

DATA = ["--data.dataset", "cifar10_jpeg", "--data.eval-split", "test[:500]"]
RUNS = {
    "digits_cnn": ["digits_cnn", "--length", "100steps"],
    "cifar10_resnet20_smoke": [
        *("cifar10_resnet20_smoke", *DATA),
        *("--length", "2steps", "--eval-every", "2steps"),
    ],
}
COMMANDS = {
    "import jaxcnn": ["-c", "import jaxcnn"],
    "import jaxcnn.train": ["-c", "import jaxcnn.train"],
    "train.py --help": ["scripts/train.py", "--help"],
    "train.py digits_cnn --help": ["scripts/train.py", "digits_cnn", "--help"],
}


def first_step(arguments: list[str], programs: pathlib.Path) -> float:
    """Seconds from the start of the process to the end of the first step."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["scripts/train.py", *arguments, "--workdir", folder, "--no-figures"]
        text = run([*command, "--compilation-cache", str(programs)])
    found = re.search(r"first step ([\d.]+) s", text)
    if found is None:
        raise ValueError(f"The run said nothing of its first step:\n{text}")
    return float(found[1])


def run(arguments: list[str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=report.ROOT)
    return done.stdout


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    run(arguments)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = range(parser.parse_args().rounds)
    seen: dict[str, dict[str, float]] = {}
    for name, arguments in RUNS.items():
        times: dict[str, list[float]] = {"cold": [], "warm": []}
        for _ in rounds:
            with tempfile.TemporaryDirectory() as folder:
                for kind in times:
                    times[kind].append(first_step(arguments, pathlib.Path(folder)))
        seen[name] = {kind: statistics.median(each) for kind, each in times.items()}
    commands = {
        name: round(statistics.median(seconds(arguments) for _ in rounds), 2)
        for name, arguments in COMMANDS.items()
    }
    report.write("startup.json", {"seconds_to_first_step": seen, "seconds_of_commands": commands})


if __name__ == "__main__":
    main()
