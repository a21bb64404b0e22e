"""Test accuracy of `digits_cnn` (or another config) over seeds: mean, spread and time.

    python benchmarks/digits_accuracy.py [--config digits_cnn] [--seeds 5]

Writes benchmarks/results/CONFIG_seeds.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import statistics
import sys
import tempfile
import time

import report

sys.path.insert(0, str(report.ROOT / "scripts"))
import command_line

from jaxcnn.train import fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="digits_cnn")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    recipe = command_line.load_recipe(options.config)
    rows = []
    for seed in range(options.seeds):
        started = time.perf_counter()
        config = dataclasses.replace(recipe, seed=seed, figures=False)
        with tempfile.TemporaryDirectory() as folder:
            result = fit(config, pathlib.Path(folder))
        assert result.evaluation is not None
        rows.append(
            {
                "seed": seed,
                "top1": 100 * result.evaluation.top1,
                "correct": result.evaluation.correct,
                "count": result.evaluation.count,
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
    top1 = [row["top1"] for row in rows]
    report.write(
        f"{options.config}_seeds.json",
        {
            "mean_top1": round(statistics.mean(top1), 3),
            "std_top1": round(statistics.stdev(top1), 3) if len(top1) > 1 else None,
            "runs": rows,
        },
    )


if __name__ == "__main__":
    main()
