"""A classifier as the head of its network, and the network as a folder that every script opens."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import weights
from jaxcnn.preprocess import Preprocess
from jaxcnn.probe.classifier import Classifier
from jaxcnn.transfer import HEAD


def with_head(
    model: nn.Module, variables: Mapping[str, Any], classifier: Classifier
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the classifier as its head, and its variables."""
    kernel = jnp.asarray(classifier.kernel, jnp.float32)
    head = {"kernel": kernel, "bias": jnp.asarray(classifier.bias, jnp.float32)}
    fields: dict[str, Any] = {"num_classes": kernel.shape[1]}
    # Auxiliary heads are for training, and know other classes.
    kept = {name: tree for name, tree in variables["params"].items() if not _is_auxiliary(name)}
    if len(kept) < len(variables["params"]):
        fields["aux_heads"] = False
    stats = {n: t for n, t in variables.get("batch_stats", {}).items() if not _is_auxiliary(n)}
    params = {**kept, HEAD: head}
    fitted = {"params": params, "batch_stats": stats} if stats else {"params": params}
    return model.clone(**fields), fitted


def _is_auxiliary(name: str) -> bool:
    return name.startswith("aux")


def check_new_folder(folder: str | os.PathLike[str]) -> None:
    """Raises FileExistsError if something lies at the path already, other than an empty folder."""
    folder = pathlib.Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already; name another folder.")


def save_folder(
    folder: str | os.PathLike[str],
    name: str,
    model: nn.Module,
    variables: Mapping[str, Any],
    preprocess: Preprocess,
    class_names: Sequence[str],
) -> pathlib.Path:
    """Writes a network as repositories of the Hub are laid out; `load_network` opens it.

    The folder gets `model.safetensors` and a `config.json` with timm's keys.

    Raises:
      FileExistsError: the folder holds something already.
    """
    folder = pathlib.Path(folder)
    check_new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    size = preprocess.image_size
    weights.save(folder / weights.hub.WEIGHTS, variables, model, image_size=size)
    config = {
        "architecture": name,
        "num_classes": len(class_names),
        "label_names": list(class_names),
        "pretrained_cfg": {
            "input_size": [preprocess.channels, *size],
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "crop_pct": preprocess.crop_pct,
            "crop_mode": {"shorter": "center"}.get(preprocess.resize, "squash"),
            "interpolation": preprocess.interpolation,
        },
    }
    (folder / weights.hub.CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    return folder
