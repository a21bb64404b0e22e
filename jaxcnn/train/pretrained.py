"""The variables that a run starts from: another run's, or a file's, fitted to the new task."""

from __future__ import annotations

import logging
from typing import Any

import jax
from flax import linen as nn

from jaxcnn import weights
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.load import Network, load_network
from jaxcnn.train.state import initial_keys
from jaxcnn.transfer import HEAD, Plan, TransferConfig

log = logging.getLogger("jaxcnn")


def load_pretrained(
    config: TrainConfig, model: nn.Module, plan: Plan, class_names: tuple[str, ...]
) -> Any:
    """`{"params", "batch_stats"}` on the host; None where the config names no weights.

    The head starts anew, as the seed has it, unless it is to be kept; a first convolution for
    other channels is adapted as `weights.from_torch` says.

    Raises:
      ValueError: weights of another architecture or of other classes, a new head that would not
        train; with what differs.
      OSError: there are no such weights.
    """
    transfer = config.transfer
    if transfer.source is None:
        return None
    checkpoint: Any = transfer.checkpoint
    network = load_network(
        transfer.source,
        config.model,
        checkpoint=int(checkpoint) if checkpoint.isdigit() else checkpoint,
    )
    fresh = _head_is_new(transfer, network, class_names)
    if fresh and not plan.trains(HEAD):
        raise ValueError(
            f"transfer.patterns={transfer.patterns} leave the new head untrained; add {HEAD!r}, or "
            "keep the old one by transfer.head=keep."
        )
    _compare_preprocessing(config, network)
    size = network.preprocess.image_size
    variables = weights.from_torch(
        weights.to_torch(network.variables, network.model, naming="jaxcnn", image_size=size),
        model,
        image_size=config.data.image_size,
        in_channels=config.data.channels,
        new_head=initial_keys(config.seed)[0] if fresh else None,
    )
    return jax.device_get(variables)


def _head_is_new(transfer: TransferConfig, network: Network, class_names: tuple[str, ...]) -> bool:
    named = network.config is not None
    if transfer.head == "auto":
        return not (named and network.class_names == class_names)
    if transfer.head == "new":
        return True
    if len(network.class_names) != len(class_names):
        raise ValueError(
            f"transfer.head=keep: {network.source} has {len(network.class_names)} classes and the "
            f"data {len(class_names)}; transfer.head=new starts the last layer anew."
        )
    if named and network.class_names != class_names:
        raise ValueError(
            f"transfer.head=keep: {network.source} has the classes {_few(network.class_names)} "
            f"and the data {_few(class_names)}; transfer.head=new starts the last layer anew."
        )
    return False


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _compare_preprocessing(config: TrainConfig, network: Network) -> None:
    """Warns where a run's or a repository's images were normalised otherwise."""
    theirs = network.preprocess
    if config.data.channels == theirs.channels and (
        config.data.mean != theirs.mean or config.data.std != theirs.std
    ):
        log.warning(
            "The weights of %s expect data.mean=%s and data.std=%s; this run has %s and %s.",
            network.source,
            theirs.mean,
            theirs.std,
            config.data.mean,
            config.data.std,
        )
