"""Whether a run that was interrupted ended as one that was not, bit for bit."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def host_leaves(tree: Any) -> dict[str, np.ndarray]:
    """Every array of a state by its path, on the host; keys as their raw data."""
    leaves = {}
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.random.key_data(x)
        leaves[jax.tree_util.keystr(path, simple=True, separator="/")] = np.asarray(x)
    return leaves


def digest(tree: Any) -> str:
    """The SHA-256 of every array of a state, with names, types and shapes."""
    total = hashlib.sha256()
    for name, x in host_leaves(tree).items():
        total.update(f"{name} {x.dtype} {x.shape}\n".encode())
        total.update(np.ascontiguousarray(x).tobytes())
    return total.hexdigest()


def state_differences(straight: Any, interrupted: Any) -> list[str]:
    """One line for each array of two states whose bytes differ, in the order of the state."""
    a, b = host_leaves(straight), host_leaves(interrupted)
    lines = [f"{name}: only in one of the two" for name in a.keys() ^ b.keys()]
    for name in a.keys() & b.keys():
        x, y = a[name], b[name]
        if (x.dtype, x.shape) != (y.dtype, y.shape):
            lines.append(f"{name}: {x.dtype} {x.shape} and {y.dtype} {y.shape}")
        elif x.tobytes() != y.tobytes():
            wrong = np.flatnonzero(x.reshape(-1) != y.reshape(-1))
            where = np.unravel_index(int(wrong[0]) if len(wrong) else 0, x.shape)
            lines.append(
                f"{name}: {len(wrong)} of {x.size} values, first at "
                f"{tuple(map(int, where))}: {x[where]!r} and {y[where]!r}"
            )
    order = {name: i for i, name in enumerate(a)}
    return sorted(lines, key=lambda line: order.get(line.split(":")[0], -1))


class ExampleRecord:
    """The examples of each step, as one line in a file: their number and order as a SHA-256.

    An instance is what `fit` calls for each batch.
    """

    def __init__(self, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a")

    def __call__(self, step: int, batch: Mapping[str, jax.Array]) -> None:
        total = hashlib.sha256()
        for name in ("index", "epoch"):
            for shard in batch[name].addressable_shards:
                total.update(np.asarray(shard.data).tobytes())
        self._file.write(json.dumps({"step": step, "examples": total.hexdigest()}) + "\n")
        self._file.flush()


def example_differences(straight: pathlib.Path, interrupted: pathlib.Path) -> list[str]:
    """One line for each step whose examples differ between two records, or within the second.

    A killed run repeats the steps behind its checkpoint: they must show the same examples again.
    """
    wanted = {row["step"]: row["examples"] for row in _rows(straight)}
    rows = _rows(interrupted)
    lines = [
        f"step {row['step']}: other examples, or another order of them"
        for row in rows
        if row["examples"] != wanted.get(row["step"])
    ]
    missing = sorted(wanted.keys() - {row["step"] for row in rows})
    return lines + [f"step {step}: not taken" for step in missing]


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # cut off by a kill
    return rows
