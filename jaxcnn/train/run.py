"""A run's folder: what was asked for, where, and with which versions."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import platform
import subprocess
from typing import Any

import jax
from etils import epath

from jaxcnn.train.config import TrainConfig, differences, from_dict, to_dict

_PACKAGES = ("jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class ConfigMismatch(ValueError):
    """A run's folder belongs to another config."""


def write_config(workdir: pathlib.Path, config: TrainConfig, class_names: tuple[str, ...]) -> None:
    """Writes `config.json`, or checks that the folder's own describes the same run.

    Raises:
      ConfigMismatch: naming each field that decides the result and differs.
    """
    path = workdir / "config.json"
    values = to_dict(config)
    _check_config(workdir, values)
    record = {
        "config": values,
        "class_names": list(class_names),
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "commit": _git_commit(),
        "devices": [str(d.device_kind) for d in jax.devices()],
    }
    workdir.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(path)


def _check_config(workdir: pathlib.Path, values: dict[str, Any]) -> None:
    if not (workdir / "config.json").exists():
        return
    changed = differences(read_config(workdir)["config"], values)
    if changed:
        raise ConfigMismatch(
            f"{workdir} holds a run of another config ({'; '.join(changed)}). Give the same "
            "values to resume it, or another --workdir for a new run."
        )


def folder_state(workdir: pathlib.Path, config: TrainConfig, total_steps: int) -> str:
    """What `fit` would do with a folder, as a line for a person; only names are looked at.

    Raises:
      ConfigMismatch: as `write_config`.
    """
    _check_config(workdir, to_dict(config))
    folder = workdir / "checkpoints"
    found = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    step = max(found, default=0)
    if not step:
        return f"{workdir}: a new run"
    if step < total_steps:
        return f"{workdir}: the run in it resumes at step {step:,} of {total_steps:,}"
    return f"{workdir}: the run in it is finished, {step:,} steps; nothing would be trained"


def read_config(workdir: pathlib.Path | epath.Path) -> dict[str, Any]:
    """The contents of `config.json`.

    Raises:
      FileNotFoundError: where the folder is no run's.
      ValueError: where it is damaged.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{workdir} is no run's folder: it has no config.json. Give the folder that "
            "train.py wrote to (its --workdir)."
        )
    try:
        record = json.loads(path.read_text())
        if not (isinstance(record, dict) and {"config", "class_names"} <= record.keys()):
            raise ValueError("it has no config and class_names")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged: {error}. Restore it, or give another --workdir."
        ) from None
    return record


def saved_config(workdir: pathlib.Path | epath.Path) -> tuple[TrainConfig, tuple[str, ...]]:
    """The config of a run and the names of its classes.

    Raises:
      FileNotFoundError: where the folder is no run's.
      ValueError: where its `config.json` is not one that `fit` wrote.
    """
    record = read_config(workdir)
    return from_dict(record["config"]), tuple(record["class_names"])


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that this file lies in; None for an installed package."""
    here = pathlib.Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
