"""The tables that are measured as a whole, one row after the other."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from jaxcnn.benchmark.case import RANDOM, Case
from jaxcnn.benchmark.turns import measure

_PEERS = ("torch", "torch.compile")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
      case: what is measured.
      against: the sides that take turns with this library.
    """

    case: Case
    against: tuple[str, ...] = _PEERS


def _bf16(model: str, batch_size: int, **fields: Any) -> Case:
    return Case(model, batch_size=batch_size, dtype="bfloat16", steps=20, **fields)


def _cifar(steps_per_dispatch: int) -> Row:
    case = Case(
        "cifar_resnet20",
        batch_size=512,
        dtype="bfloat16",
        dataset=RANDOM,
        steps_per_dispatch=steps_per_dispatch,
        steps=100,
        warmup=steps_per_dispatch,
    )
    return Row(case)


SUITES: Mapping[str, Mapping[str, Row]] = {
    "gpu": {
        "resnet50_train": Row(_bf16("resnet50", 256)),
        "resnet50_infer": Row(_bf16("resnet50", 256, mode="infer")),
        # The largest batch that fits: the last of these that does not run out of memory.
        "resnet50_train_512": Row(_bf16("resnet50", 512)),
        "resnet50_train_768": Row(_bf16("resnet50", 768)),
        "resnet50_train_1024": Row(_bf16("resnet50", 1024)),
        "alexnet_train": Row(_bf16("alexnet", 256)),
        "vgg16_train": Row(_bf16("vgg16", 128)),
        "googlenet_train": Row(_bf16("googlenet", 256)),
        "resnet18_train": Row(_bf16("resnet18", 256)),
        "resnet152_train": Row(_bf16("resnet152", 128)),
        "cifar_resnet20_1": _cifar(1),
        "cifar_resnet20_50": _cifar(50),
    },
    # The table of docs/performance.md.
    "cpu": {
        "resnet50_train": Row(Case("resnet50", batch_size=16, steps=5)),
        "resnet18_train": Row(Case("resnet18", batch_size=32, steps=5)),
        "cifar_resnet20_train": Row(Case("cifar_resnet20", batch_size=128, steps=30)),
        "alexnet_train": Row(Case("alexnet", batch_size=64), ("torch",)),
        "vgg16_train": Row(Case("vgg16", batch_size=8), ("torch",)),
        "googlenet_train": Row(Case("googlenet", batch_size=32), ("torch",)),
        "resnext50_train": Row(Case("resnext50_32x4d", batch_size=8), ("torch",)),
        "resnet50_infer": Row(Case("resnet50", "infer", batch_size=16, steps=16)),
        "resnet18_infer": Row(Case("resnet18", "infer", batch_size=32, steps=16)),
    },
}


def choose(suite: str, pattern: str = "*") -> dict[str, Row]:
    """The rows of a suite whose names fit.

    Raises:
      ValueError: for an unknown suite, or where none fits.
    """
    if suite not in SUITES:
        raise ValueError(f"suite={suite!r} is unknown; there are {', '.join(SUITES)}.")
    rows = {n: row for n, row in SUITES[suite].items() if fnmatch.fnmatchcase(n, pattern)}
    if not rows:
        raise ValueError(f"{pattern!r} fits no row of {suite!r}: {', '.join(SUITES[suite])}.")
    return rows


def run_suite(
    rows: Mapping[str, Row],
    changes: Mapping[str, Any] = {},
    *,
    report: Callable[[str, dict[str, Any]], None] = lambda name, result: None,
) -> dict[str, Any]:
    """Measures each row; one that fails is kept as `{"error": ...}`, and the others go on.

    Args:
      rows: by name.
      changes: fields of every row's case to replace, as for a smaller trial.
      report: called after each row with its name and result.

    Returns:
      `{name: what measure() gives}`. Where PyTorch is not installed the rows are of this library
      alone. A row with a dataset has `epoch_seconds` too, for 50,000 images.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    results: dict[str, Any] = {}
    for name, row in rows.items():
        try:
            case = dataclasses.replace(row.case, **changes)
            sides = ("jaxcnn", *(row.against if has_torch else ()))
            results[name] = measure(case, sides, also=("busy", "limits"))
            if case.dataset:
                for side in results[name]["sides"].values():
                    side["epoch_seconds"] = round(50_000 / side["images_per_second"], 3)
        except ValueError as error:
            results[name] = {"error": str(error)}
        report(name, results[name])
    return results
