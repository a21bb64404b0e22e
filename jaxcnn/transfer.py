"""Transfer learning: which of a network's parameters train, and how fast.

What does not train is left out of everything that training costs: it has no gradient, no slot of
the optimizer, no decay and no moving average, its BatchNorm runs with the statistics that it has,
and nothing is differentiated below the first layer that trains.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.arguments import check_fields
from jaxcnn.nn import BatchNorm

Regime = Literal["all", "linear_probe", "top_layers", "patterns"]
HEAD = "head"
RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Where a network's weights come from, and which of them train.

    The default takes no weights and trains everything: no transfer at all.
    """

    weights: str | None = None
    """A run's folder, a .safetensors or .npz file, or `hf://OWNER/NAME`. `random` freezes layers
    that nothing has trained, on purpose, as a baseline."""
    checkpoint: str = "last"
    """Of a run: last, best or a step."""
    head: Literal["auto", "new", "keep"] = "auto"
    """Whether the last layer starts anew; `auto` keeps it where the weights are a run's on the
    same classes."""
    regime: Regime = "all"
    """What trains: everything; the head alone; the head and the last stages; or what `patterns`
    match."""
    stages: int = 1
    """With `top_layers`: how many of the last stages train besides the head."""
    patterns: tuple[str, ...] = ()
    """With `patterns`: shell patterns of parameters (`stage4*`, `*/scale`) or modules (`head`)."""
    stage_decay: float = 1.0
    """Each stage's learning rate is so many times that of the stage after it; the head has the
    full one."""

    def __post_init__(self) -> None:
        check_fields(self, "transfer.")
        frozen = self.regime != "all"
        if frozen and self.weights is None:
            raise ValueError(
                f"transfer.regime={self.regime!r} freezes layers that nothing has trained; name "
                f"transfer.weights, or say transfer.weights={RANDOM!r} to freeze random layers."
            )
        if self.head != "auto" and self.weights in (None, RANDOM):
            raise ValueError(f"transfer.head={self.head!r} needs transfer.weights.")
        if bool(self.patterns) != (self.regime == "patterns"):
            raise ValueError(
                f"transfer.patterns={self.patterns} with transfer.regime={self.regime!r}: patterns "
                "belong to the regime 'patterns', which needs at least one."
            )
        if self.stages < 1:
            raise ValueError(
                f"transfer.stages={self.stages} must be at least 1; 'linear_probe' has none."
            )
        if not 0 < self.stage_decay <= 1:
            raise ValueError(f"transfer.stage_decay={self.stage_decay} must lie in (0, 1].")
        if self.checkpoint not in ("last", "best") and not self.checkpoint.isdigit():
            raise ValueError(
                f"transfer.checkpoint={self.checkpoint!r}: give 'last', 'best' or a step."
            )

    @property
    def source(self) -> str | None:
        """Where trained weights come from; None where there are none."""
        return None if self.weights == RANDOM else self.weights


@dataclasses.dataclass(frozen=True)
class Stage:
    """Top-level modules that belong together: `stage2` holds `stage2_block1`, `stage2_block2`.

    Attributes:
      name: what their names start with.
      modules: in the order in which the network calls them.
    """

    name: str
    modules: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which parameters train; the default has no frozen ones.

    Attributes:
      trainable: paths of parameters, as `stage4_block2/conv1/kernel`.
      frozen: paths of the others.
      factors: by path, of the learning rate; 1 where a path is not named.
    """

    trainable: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def trained_modules(self) -> frozenset[str]:
        """Modules with a parameter of their own that trains."""
        return frozenset(_parents(self.trainable))

    @functools.cached_property
    def frozen_modules(self) -> frozenset[str]:
        """Modules that have parameters of their own, none of which trains."""
        return frozenset(_parents(self.frozen)) - self.trained_modules

    def trains(self, module: str) -> bool:
        """Whether anything in a module trains."""
        return not self.frozen or any(p.startswith(f"{module}/") for p in self.trainable)

    def describe(self, config: TransferConfig) -> str:
        """Where the weights come from and what trains, to follow the opening line of a run."""
        if config == TransferConfig():
            return ""
        total = len(self.trainable) + len(self.frozen)
        what = f"{len(self.trainable)} of {total} parameter arrays train" if total else "all train"
        return f"; weights: {config.weights or 'fresh'}; {config.regime}: {what}"

    def split(self, variables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Cuts `{"params", "batch_stats"}` into what training changes and what it does not.

        The statistics of a BatchNorm go with its parameters. Without frozen parameters the second
        part is empty.
        """
        if not self.frozen:
            return dict(variables), {}
        parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for collection, tree in variables.items():
            flat = flatten_dict(dict(tree), sep="/")
            stays = {path: self._is_frozen(collection, path) for path in flat}
            for part, wanted in zip(parts, (False, True), strict=True):
                chosen = {path: x for path, x in flat.items() if stays[path] is wanted}
                part[collection] = unflatten_dict(chosen, sep="/")
        return parts

    def _is_frozen(self, collection: str, path: str) -> bool:
        if collection == "params":
            return path in self.frozen
        return path.rpartition("/")[0] in self.frozen_modules

    def freezing(self) -> Any:
        """A context in which the network, applied with `train=True`, keeps frozen layers still.

        BatchNorm of frozen layers runs as in evaluation. So does dropout below the first layer
        that trains: the features that it would disturb are then the same in every step.
        """
        return nn.intercept_methods(self._interceptor())

    def _interceptor(self) -> Callable[..., Any]:
        reached = not self.frozen

        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            nonlocal reached
            module = context.module
            if context.method_name != "__call__" or not self.frozen:
                return call(*args, **kwargs)
            path = "/".join(module.path)
            if isinstance(module, nn.Dropout) and not reached:
                return args[0]
            reached = reached or path in self.trained_modules
            if isinstance(module, BatchNorm) and path in self.frozen_modules:
                kwargs = {**kwargs, "train": False}
            return call(*args, **kwargs)

        return intercept


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `Plan.split`."""
    merged = {}
    for collection in {**first, **second}:
        flat = [flatten_dict(dict(part.get(collection, {}))) for part in (first, second)]
        merged[collection] = unflatten_dict(flat[0] | flat[1])
    return merged


def make_plan(config: TransferConfig, model: nn.Module, image_shape: tuple[int, int, int]) -> Plan:
    """The plan of a regime for a network on images of `[H, W, C]`; nothing is computed.

    Raises:
      ValueError: for patterns that match nothing, with near names; more stages than there are;
        or a network without a head.
    """
    paths, order = _describe(model, image_shape)
    stages = _stages(order)
    if HEAD not in order:
        raise ValueError(f"{type(model).__name__} without classes has no head to train.")
    if config.regime == "patterns":
        trainable = _matched(config.patterns, paths)
    else:
        modules = {
            "all": lambda: set(order),
            "linear_probe": lambda: {HEAD},
            "top_layers": lambda: {HEAD, *_last(stages, config.stages)},
        }[config.regime]()
        trainable = frozenset(p for p in paths if p.partition("/")[0] in modules)
    factors = _factors(config.stage_decay, stages, trainable)
    return Plan(trainable, frozenset(paths) - trainable, factors)


def stages_of(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[Stage, ...]:
    """A network's stages from the images to the head; auxiliary heads are in none.

    What stands before the first `_` of a module's name, without a letter after a number, is its
    stage's: `stem_conv` is of `stem`, `inception3a` of `inception3`.
    """
    return _stages(_describe(model, image_shape)[1])


def _describe(
    model: nn.Module, image_shape: tuple[int, int, int]
) -> tuple[list[str], tuple[str, ...]]:
    """The paths of all parameters, and the top-level modules that hold them as they are called."""
    called: list[str] = []

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path and context.module.path[0] not in called:
            called.append(context.module.path[0])
        return call(*args, **kwargs)

    def init(images: jax.Array) -> Any:
        return model.init(jax.random.key(0), images, train=False)["params"]

    with nn.intercept_methods(record):
        params = jax.eval_shape(init, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return list(flatten_dict(params, sep="/")), tuple(name for name in called if name in params)


def _stages(order: Iterable[str]) -> tuple[Stage, ...]:
    groups: dict[str, list[str]] = {}
    for module in order:
        match = re.match(r"[a-z]+\d*", module)
        name = match[0] if match else module
        if not name.startswith("aux"):
            groups.setdefault(name, []).append(module)
    return tuple(Stage(name, tuple(modules)) for name, modules in groups.items())


def _last(stages: tuple[Stage, ...], number: int) -> list[str]:
    below = [stage for stage in stages if stage.name != HEAD]
    if number > len(below):
        raise ValueError(
            f"transfer.stages={number}, but the network has {len(below)} below its head "
            f"({', '.join(stage.name for stage in below)}); regime 'all' trains every one."
        )
    return [module for stage in below[-number:] for module in stage.modules]


def _matched(patterns: Iterable[str], paths: list[str]) -> frozenset[str]:
    """The parameters that some pattern matches, by their own path or that of a module around."""
    found: set[str] = set()
    names = {path: _ancestry(path) for path in paths}
    for pattern in patterns:
        hits = {p for p, own in names.items() if any(fnmatch.fnmatchcase(n, pattern) for n in own)}
        if not hits:
            known = sorted({name for own in names.values() for name in own})
            near = difflib.get_close_matches(pattern.rstrip("*/"), known, n=3, cutoff=0.4)
            tops = dict.fromkeys(path.partition("/")[0] for path in paths)
            known_names = f"near it are {', '.join(near)}" if near else f"it has {', '.join(tops)}"
            raise ValueError(
                f"transfer.patterns: {pattern!r} matches no parameter of the network; "
                f"{known_names}."
            )
        found |= hits
    return frozenset(found)


def _ancestry(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _factors(
    decay: float, stages: tuple[Stage, ...], trainable: frozenset[str]
) -> dict[str, float]:
    if decay == 1:
        return {}
    depth = {
        module: distance
        for distance, stage in enumerate(reversed(stages))
        for module in stage.modules
    }
    return {path: decay ** depth.get(path.partition("/")[0], 0) for path in sorted(trainable)}


def _parents(paths: Iterable[str]) -> set[str]:
    return {path.rpartition("/")[0] for path in paths}
