"""The four cases of docs/transfer.md: the advice, and what each regime then gives.

    python benchmarks/transfer_cases.py --weights cifar_resnet20.safetensors [--data-dir DIR]

The similar cases are of `cifar10_jpeg`: CIFAR-10's test images, which the weights have not seen,
re-encoded as JPEG; they are trained on and scored on different parts. Digits and hymenoptera are
scored by benchmarks/transfer.py, so that only their advice and cached probe are made here. Writes
benchmarks/results/transfer_cases.json after each case, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import report

sys.path.insert(0, str(report.ROOT / "scripts"))
import command_line

import jaxcnn
from jaxcnn import probe
from jaxcnn.data import open_source
from jaxcnn.train import TransferConfig, epochs, fit

NAME = "transfer_cases.json"
# By case: a recipe, the dataset, the splits, the length in epochs.
CASES = {
    "similar, little": ("cifar10_jpeg", "test[:500]", "test[8000:]", 12),
    "similar, enough": ("cifar10_jpeg", "test[:2000]", "test[8000:]", 4),
    "not similar, little": ("hymenoptera", "train", "val", 0),
    "not similar, enough": ("digits", "train", "test", 0),
}
REGIMES = {
    "top_layers": ({"regime": "top_layers"}, 0.02),
    "all": ({"stage_decay": 0.5}, 0.02),
    "from nothing": (None, 0.05),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data-dir", help="where TFDS datasets lie")
    options = parser.parse_args()
    path = report.ROOT / "benchmarks" / "results" / NAME
    cases: dict[str, Any] = json.loads(path.read_text())["cases"] if path.exists() else {}
    for name, (dataset, *splits, _) in CASES.items():
        case = cases.setdefault(name, {"dataset": dataset, "train_split": splits[0]})
        if "advice" not in case:
            sources = [open_source(dataset, split, data_dir=options.data_dir) for split in splits]
            case |= _probe(options.weights, *sources)
            report.write(NAME, {"cases": cases})
    for name, (dataset, train_split, eval_split, length) in CASES.items():
        case = cases[name]
        for regime in REGIMES if length else ():
            if regime not in case:
                data = (dataset, train_split, eval_split, options.data_dir)
                case[regime] = _train(options.weights, regime, data, length)
                report.write(NAME, {"cases": cases})


def _probe(weights: str, train: Any, test: Any) -> dict[str, Any]:
    network = jaxcnn.load_network(weights, "cifar_resnet20")
    parts = (network.model, network.variables)
    advice = probe.advise(*parts, train, network.preprocess, weights="WEIGHTS")
    found = probe.probe(*parts, train, test, network.preprocess)
    return {"advice": advice.to_dict(), "cached probe": found.summary()}


def _train(weights: str, regime: str, data: tuple[Any, ...], length: int) -> dict[str, Any]:
    started = time.perf_counter()
    transfer, rate = REGIMES[regime]
    recipe = command_line.load_recipe("cifar10_resnet20")
    dataset, train_split, eval_split, data_dir = data
    config = dataclasses.replace(
        recipe,
        data=dataclasses.replace(
            recipe.data,
            dataset=dataset,
            train_split=train_split,
            eval_split=eval_split,
            data_dir=data_dir,
        ),
        optimizer=dataclasses.replace(
            recipe.optimizer,
            learning_rate=rate,
            weight_decay=5e-4,
            nesterov=True,
            schedule="cosine",
            milestones=(),
        ),
        transfer=TransferConfig() if transfer is None else TransferConfig(weights, **transfer),
        batch_size=32 if length > 5 else 64,
        length=epochs(length),
        eval_every=epochs(length),
        checkpoint_every=epochs(length),
        figures=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        result = fit(config, pathlib.Path(folder))
    assert result.evaluation is not None
    return {
        "epochs": length,
        "correct": result.evaluation.correct,
        "count": result.evaluation.count,
        "top1": round(100 * result.evaluation.top1, 2),
        "seconds": round(time.perf_counter() - started, 1),
    }


if __name__ == "__main__":
    main()
