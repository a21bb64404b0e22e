"""A finished (or running) run as a network with its weights."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any, Literal

import jax
from flax import linen as nn

from jaxcnn.preprocess import Preprocess
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.optimizer import make_optimizer
from jaxcnn.train.run import saved_config
from jaxcnn.train.setup import make_model, make_preprocess
from jaxcnn.train.state import create_state


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A run's network, ready to predict.

    Attributes:
      config: of the run.
      model: the network.
      variables: the moving average where the run kept one, else the weights as trained.
      preprocess: how an image becomes an input.
      class_names: in the order of the logits.
      step: optimizer steps done.
    """

    config: TrainConfig
    model: nn.Module
    variables: Any
    preprocess: Preprocess
    class_names: tuple[str, ...]
    step: int


def load_run(
    workdir: str | pathlib.Path, checkpoint: Literal["last", "best"] | int = "last"
) -> LoadedRun:
    """Reads a run's folder.

    Args:
      workdir: what `fit` wrote to.
      checkpoint: the newest, the one with the best score on the evaluation split (which then no
        longer is an independent measure), or a step.

    Raises:
      FileNotFoundError: the folder is no run's, or has no such checkpoint.
      DamagedCheckpoint: its files are not the ones that were saved.
    """
    workdir = pathlib.Path(workdir).resolve()
    config, class_names = saved_config(workdir)
    model, preprocess = make_model(config, len(class_names)), make_preprocess(config.data)
    # The schedule does not change the state's structure; any constant one serves.
    optimizer = make_optimizer(config.optimizer, lambda step: 0.0)
    template = jax.eval_shape(
        functools.partial(
            create_state,
            model,
            optimizer,
            (*preprocess.image_size, preprocess.channels),
            seed=0,
            ema=config.ema is not None,
        )
    )
    checkpoints = Checkpoints(workdir / "checkpoints", config.keep_checkpoints, read_only=True)
    try:
        steps = checkpoints.steps()
        if not steps:
            raise FileNotFoundError(f"{workdir} has no checkpoint yet; train it first.")
        if checkpoint == "last":
            step = steps[-1]
        elif checkpoint == "best":
            best = checkpoints.best_step()
            step = steps[-1] if best is None else best
        elif checkpoint in steps:
            step = checkpoint
        else:
            raise FileNotFoundError(
                f"{workdir} has no checkpoint of step {checkpoint}; it has {steps}."
            )
        state = checkpoints.restore(step, template).state
    finally:
        checkpoints.close()
    return LoadedRun(config, model, state.eval_variables, preprocess, class_names, step)
