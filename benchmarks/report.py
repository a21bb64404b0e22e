"""Results as JSON with what they were measured on."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from jaxcnn.benchmark import environment

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def write(name: str, values: dict[str, Any]) -> pathlib.Path:
    """Writes `benchmarks/results/NAME` and prints it."""
    path = RESULTS / name
    record = environment() | values
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(path.read_text())
    return path
