"""Results as JSON with what they were measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from typing import Any

import jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGES = ("jaxcnn", "jax", "jaxlib", "flax", "optax", "numpy")


def write(name: str, values: dict[str, Any]) -> pathlib.Path:
    """Writes `benchmarks/results/NAME` and prints it."""
    path = ROOT / "benchmarks" / "results" / name
    record = {
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.devices()[0].device_kind}, {_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in _PACKAGES},
    } | values
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(path.read_text())
    return path


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
