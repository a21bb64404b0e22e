"""The regimes of transfer learning on two datasets, from trained weights and from scratch.

    python benchmarks/transfer.py --weights cifar_resnet20.safetensors [--seeds 5] [--table]

Writes benchmarks/results/transfer.json after each run, and goes on where it stopped. --table prints
the table of docs/transfer.md from that file. The learning rates were set once, not searched.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile
import time

import report

sys.path.insert(0, str(report.ROOT / "scripts"))
import command_line

from jaxcnn.train import TrainConfig, TransferConfig, fit

NAME = "transfer.json"
CONFIGS = ("digits_transfer", "hymenoptera_transfer")
# By (from trained weights?, regime): a gentle rate for what is trained already.
RATES = {
    (True, "linear_probe"): 0.05,
    (True, "top_layers"): 0.02,
    (True, "all"): 0.02,
    (False, "linear_probe"): 0.05,
    (False, "top_layers"): 0.05,
    (False, "all"): 0.05,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="cifar_resnet20.safetensors")
    parser.add_argument("--data-dir", help="where TFDS datasets lie")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="print what is known, train nothing")
    options = parser.parse_args()
    path = report.ROOT / "benchmarks" / "results" / NAME
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    if options.table:
        print(_markdown(_table(runs)))
        return
    done = {tuple(run[k] for k in ("config", "trained", "regime", "seed")) for run in runs}
    for seed in range(options.seeds):
        for name in CONFIGS:
            for (trained, regime), rate in RATES.items():
                if (name, trained, regime, seed) in done:
                    continue
                weights = options.weights if trained else None if regime == "all" else "random"
                transfer = TransferConfig(weights, regime=regime)
                run = {"config": name, "trained": trained, "regime": regime, "seed": seed}
                config = _config(name, transfer, rate, seed, options.data_dir)
                runs.append(run | _train(config))
                report.write(NAME, {"table": _table(runs), "runs": runs})
    print(_markdown(_table(runs)))


def _config(
    name: str, transfer: TransferConfig, rate: float, seed: int, data_dir: str | None
) -> TrainConfig:
    recipe = command_line.load_recipe(name)
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, data_dir=data_dir),
        optimizer=dataclasses.replace(recipe.optimizer, learning_rate=rate),
        transfer=transfer,
        seed=seed,
        figures=False,
    )


def _train(config: TrainConfig) -> dict[str, float]:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = fit(config, pathlib.Path(folder))
    assert result.evaluation is not None
    evaluation = result.evaluation
    seconds = round(time.perf_counter() - started, 1)
    return {"correct": evaluation.correct, "count": evaluation.count, "seconds": seconds}


def _table(runs: list[dict]) -> list[dict]:
    rows = []
    for key in dict.fromkeys((run["config"], run["trained"], run["regime"]) for run in runs):
        own = [r for r in runs if (r["config"], r["trained"], r["regime"]) == key]
        top1 = [100 * r["correct"] / r["count"] for r in own]
        rows.append(
            dict(zip(("config", "trained", "regime"), key, strict=True))
            | {
                "seeds": len(own),
                "mean_top1": round(statistics.mean(top1), 2),
                "std_top1": round(statistics.stdev(top1), 2) if len(top1) > 1 else None,
            }
        )
    return rows


def _markdown(rows: list[dict]) -> str:
    """The table of docs/transfer.md: mean, deviation and number of seeds."""
    regimes = tuple(dict.fromkeys(row["regime"] for row in rows))
    lines = [
        "| data | weights | " + " | ".join(f"`{regime}`" for regime in regimes) + " |",
        "|---|---|" + "---|" * len(regimes),
    ]
    cells = {(r["config"], r["trained"], r["regime"]): _cell(r) for r in rows}
    for config, trained in dict.fromkeys(key[:2] for key in cells):
        weights = "`cifar_resnet20`" if trained else "from scratch"
        found = [cells.get((config, trained, regime), "") for regime in regimes]
        lines.append(f"| {config.removesuffix('_transfer')} | {weights} | {' | '.join(found)} |")
    return "\n".join(lines)


def _cell(row: dict) -> str:
    spread = "" if row["std_top1"] is None else f" ± {row['std_top1']:.1f}"
    return f"{row['mean_top1']:.1f}%{spread} ({row['seeds']})"


if __name__ == "__main__":
    main()
