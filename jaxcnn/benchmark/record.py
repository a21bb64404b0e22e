"""What a measurement was made on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
import sys
from typing import Any

import jax

_PACKAGES = ("jaxcnn", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "torchvision")


def environment() -> dict[str, Any]:
    """Command, date, device and versions, as JSON values."""
    return {
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.devices()[0].device_kind}, {_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in _PACKAGES if _installed(p)},
    }


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
