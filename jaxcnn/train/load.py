"""Networks with their weights, from runs and from files."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from typing import Any, Literal

import jax
from etils import epath
from flax import linen as nn

from jaxcnn import buckets, parallel, weights
from jaxcnn.models import create_model, model_info
from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.network import make_model, make_preprocess, plan_of
from jaxcnn.train.optimizer import make_optimizer
from jaxcnn.train.run import saved_config
from jaxcnn.train.state import create_state
from jaxcnn.weights.files import check_ending


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with its weights, ready to predict.

    Attributes:
      name: of `jaxcnn.list_models()`.
      model: the network.
      variables: its weights; of a run, the moving average where it kept one.
      preprocess: how an image becomes an input.
      class_names: in the order of the logits; `"0"`, `"1"`, ... where they are not known.
      source: the run's folder, the file, or the name on the Hub that it came from.
      step: of a run's checkpoint: optimizer steps done.
      sha256: of a file of weights.
      config: of a run.
    """

    name: str
    model: nn.Module
    variables: Any
    preprocess: Preprocess
    class_names: tuple[str, ...]
    source: str
    step: int | None = None
    sha256: str | None = None
    config: TrainConfig | None = None


def load_network(
    source: str | os.PathLike[str],
    model: str | None = None,
    *,
    checkpoint: Literal["last", "best"] | int = "last",
    preprocess: Preprocess | None = None,
) -> Network:
    """A network from a run, or from a file of weights.

    Args:
      source: the folder that `fit` wrote to; a `.safetensors` or `.npz` file; a folder laid out
        like a repository of the Hub; or `hf://OWNER/NAME`.
      model: the network's name. A run knows its own; so does a repository whose `config.json`
        names an architecture of ours.
      checkpoint: of a run, as for `load_run`.
      preprocess: how an image becomes an input; default: the run's, the repository's, or for
        bare weights the network's image size, with ImageNet's mean and deviation, or 0.5 if gray.

    Raises:
      ValueError, OSError: no network can be made of it; says what is missing.
    """
    if os.fspath(source).startswith(buckets.SCHEME):
        return _as_asked(load_run(source, checkpoint), model, preprocess)
    if os.fspath(source).startswith("hf:"):
        return _load_weights(source, model, preprocess)
    folder = pathlib.Path(source).expanduser()
    if (folder / "config.json").is_file() and (folder / "checkpoints").is_dir():
        return _as_asked(load_run(folder, checkpoint), model, preprocess)
    if folder.is_dir() and not (folder / weights.hub.WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{folder} is no run's folder (it has no config.json with checkpoints) and has no "
            f"{weights.hub.WEIGHTS}; give what train.py wrote to, or a file of weights."
        )
    if not folder.exists():
        raise FileNotFoundError(
            f"{folder} does not exist; give the folder of a run, a .safetensors or .npz file, or "
            "hf://OWNER/NAME."
        )
    return _load_weights(folder, model, preprocess)


def _as_asked(run: Network, model: str | None, preprocess: Preprocess | None) -> Network:
    if model not in (None, run.name):
        raise ValueError(f"{run.source} is a run of {run.name!r}, not of {model!r}; leave it out.")
    return run if preprocess is None else dataclasses.replace(run, preprocess=preprocess)


def _load_weights(
    source: str | os.PathLike[str], name: str | None, preprocess: Preprocess | None
) -> Network:
    found = weights.describe(source)
    check_ending(found.path)
    name = name or found.config.get("architecture")
    if name is None:
        raise ValueError(f"{source} does not say which network it is of; name it (--model NAME).")
    model = create_model(name, **weights.decided_fields(found.path, create_model(name)))
    known = preprocess or found.preprocess
    # A layer that reads flattened maps keeps its rows in an order that depends on the size.
    size = known.image_size if known else None
    variables = weights.load(found.path, model, image_size=size)
    channels = weights.sizes.image_channels(variables, model, size)
    if channels not in ((known.channels,) if known else (1, 3)):
        given = f"its preprocessing gives {known.channels}" if known else "a picture has 1 or 3"
        raise ValueError(
            f"{source} reads images of {channels} channels, and {given}; give preprocess= with as "
            "many, or adapt the weights: jaxcnn.weights.load(path, model, in_channels=3)."
        )
    return Network(
        name=name,
        model=model,
        variables=variables,
        preprocess=known or _default_preprocess(name, channels),
        class_names=_names(found.config.get("label_names"), model.num_classes),
        source=str(source),
        sha256=found.sha256,
    )


def _default_preprocess(name: str, channels: int) -> Preprocess:
    size = model_info(name).image_size
    return Preprocess(
        image_size=size,
        channels=channels,
        mean=(0.5,) if channels == 1 else IMAGENET_MEAN,
        std=(0.5,) if channels == 1 else IMAGENET_STD,
        # Networks of small images are trained on images that have the size already.
        resize="shorter" if min(size) > 64 else "squash",
    )


def _names(labels: Any, classes: int) -> tuple[str, ...]:
    """A repository's own names of its classes, where it has one for each."""
    if isinstance(labels, list) and len(labels) == classes:
        return tuple(map(str, labels))
    return tuple(map(str, range(classes)))


def with_class_names(network: Network, path: str | os.PathLike[str]) -> Network:
    """The network with the names of its classes from a text file, one a line.

    Raises:
      ValueError: the file has another number of names than the network has classes.
    """
    text = pathlib.Path(path).read_text(encoding="utf-8")
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != len(network.class_names):
        raise ValueError(
            f"{path} names {len(names)} classes, and {network.source} has "
            f"{len(network.class_names)}; give one name a line, in the order of the logits."
        )
    return dataclasses.replace(network, class_names=names)


def load_run(
    workdir: str | os.PathLike[str], checkpoint: Literal["last", "best"] | int = "last"
) -> Network:
    """Reads a run's folder.

    Args:
      workdir: what `fit` wrote to, local or `gs://BUCKET/PATH`.
      checkpoint: the newest, the one with the best score on the evaluation split (which then no
        longer is an independent measure), or a step.

    Raises:
      FileNotFoundError: the folder is no run's, or has no such checkpoint.
      DamagedCheckpoint: its files are not the ones that were saved.
    """
    folder = buckets.folder(workdir)
    config, class_names = saved_config(folder)
    model, preprocess = make_model(config, len(class_names)), make_preprocess(config.data)
    template = _abstract_state(config, model, preprocess)
    checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints, read_only=True)
    try:
        step = _find_step(checkpoints, checkpoint, folder)
        state = checkpoints.restore(step, template).state
    finally:
        checkpoints.close()
    return Network(
        name=config.model,
        model=model,
        variables=state.eval_variables,
        preprocess=preprocess,
        class_names=class_names,
        source=str(folder),
        step=step,
        config=config,
    )


def _abstract_state(config: TrainConfig, model: nn.Module, preprocess: Preprocess) -> Any:
    """The shapes of a run's state, on devices that are here."""
    plan = plan_of(config, model)
    # The schedule does not change the state's structure; any constant one serves.
    optimizer = make_optimizer(config.optimizer, lambda step: 0.0, plan.factors)
    shape = (*preprocess.image_size, preprocess.channels)
    make = functools.partial(
        create_state, model, optimizer, shape, seed=0, ema=config.ema is not None, plan=plan
    )
    # A run may have been trained on devices that are not here. Every process takes part in the
    # reading, so with several the arrays are to lie on all devices; else one is enough.
    limit = 1 if jax.process_count() == 1 else None
    return parallel.make_mapping(limit=limit).abstract_state(jax.eval_shape(make))


def _find_step(
    checkpoints: Checkpoints, which: Literal["last", "best"] | int, workdir: epath.Path
) -> int:
    steps = checkpoints.steps()
    if not steps:
        raise FileNotFoundError(f"{workdir} has no checkpoint yet; train it first.")
    if which == "best":
        best = checkpoints.best_step()
        return steps[-1] if best is None else best
    if which == "last":
        return steps[-1]
    if which not in steps:
        raise FileNotFoundError(f"{workdir} has no checkpoint of step {which}; it has {steps}.")
    return which
