"""Fixtures for all rooms: virtual devices, and the optional folder of shared test data."""

from __future__ import annotations

import os
import pathlib

import jax
import pytest

# Eight virtual CPU devices stand in for a machine with eight accelerators.
jax.config.update("jax_num_cpu_devices", 8)

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder with published weights, goldens and prepared datasets; skips where it is not."""
    folder = pathlib.Path(os.environ.get("JAXCNN_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs the shared test data (set JAXCNN_SHARED to its folder)")
    return folder
