"""Where an imported network departs from the one that it was imported from, and why."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.arguments import nearest
from jaxcnn.weights.convert import check_variables, dense_after_flatten, statistics
from jaxcnn.weights.errors import WeightsError
from jaxcnn.weights.files import read
from jaxcnn.weights.padding import WINDOWS, repadded

IMAGES, LOGITS, TRAINED = "images", "logits", "trained."
_EPSILONS = (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
# How much worse the border must be than the inside before padding is suspected.
_BORDER = 10


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
      name: a tap, `logits`, or a running statistic after one pass in training mode.
      error: relative Frobenius norm of the difference; infinite where the shapes differ.
      shape: ours, with channels last.
      reference_shape: the reference's, with channels last.
    """

    name: str
    error: float
    shape: tuple[int, ...]
    reference_shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Audit:
    """The result of `audit`; `print` shows it as a table.

    Attributes:
      rows: in the order in which the network computes them.
      tolerance: errors above it are divergences.
      first: name of the first row that diverges, or None.
      hint: what would explain it; empty where nothing diverges.
    """

    rows: tuple[Row, ...]
    tolerance: float
    first: str | None
    hint: str

    @property
    def ok(self) -> bool:
        """Nothing diverges."""
        return self.first is None

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'compared':{width}}  error    shape"]
        for row in self.rows:
            shape = str(row.shape)
            if row.shape != row.reference_shape:
                shape += f", the reference's {row.reference_shape}"
            mark = "  <- first divergence" if row.name == self.first else ""
            lines.append(f"{row.name:{width}}  {row.error:.1e}  {shape}{mark}")
        lines.append(self.hint or f"All agree within {self.tolerance:g}.")
        return "\n".join(lines)


def record(model: nn.Module, variables: Mapping[str, Any], images: Any) -> dict[str, np.ndarray]:
    """Our own activations on `images` [B, H, W, C] in the form that `audit` reads.

    The same form is recorded from PyTorch in docs/weights.md: channels first, `images` as the
    network saw them, each tap under its name, and `logits`.
    """
    images = jnp.asarray(images)
    outputs = {IMAGES: images, **_runner(model)(variables, images)}
    return {name: _theirs(np.asarray(value)) for name, value in outputs.items()}


def audit(
    model: nn.Module,
    variables: Mapping[str, Any],
    reference: Mapping[str, Any] | str | os.PathLike[str],
    *,
    tolerance: float = 1e-4,
) -> Audit:
    """Compares a network tap by tap with recorded activations, and explains the first difference.

    The explanation is tried: the network is run again with the images' channels reversed, other
    paddings, another epsilon, or the other flatten order, and what gives the reference's values
    is named. Where nothing does, the hint says what the difference looks like.

    Args:
      model: the network.
      variables: its weights, as they were imported.
      reference: arrays by name, or a safetensors or npz file of them, channels first: `images`
        [B, C, H, W] and any of the taps [B, c, h, w] and `logits` [B, K], recorded in evaluation
        mode; optionally `trained.NAME` for running statistics by their name in the state dict,
        after one forward pass of the same images in training mode.
      tolerance: relative Frobenius norm up to which two activations are the same.

    Raises:
      WeightsError: for variables of another network, or a reference without images, with nothing
        to compare, or with a name that the network does not have.
    """
    arrays = read(reference) if isinstance(reference, str | os.PathLike) else dict(reference)
    images, wanted, trained = _split(arrays, model)
    check_variables(variables, model, _size(images))
    run = _runner(model)
    found = {name: np.asarray(value) for name, value in run(variables, images).items()}
    rows = [_row(name, found[name], wanted[name]) for name in found if name in wanted]
    first = next((row for row in rows if not row.error <= tolerance), None)
    hint = ""
    if first is not None:
        hint = _explain(run, model, variables, images, wanted, first, tolerance)
        hint = hint or _describe(first, found[first.name], wanted[first.name], rows)
    if trained:
        more = _trained_rows(model, variables, images, trained)
        late = next((row for row in more if not row.error <= tolerance), None)
        if first is None and late is not None:
            first, hint = late, _explain_statistics(model, variables, images, trained, late)
        rows += more
    return Audit(tuple(rows), tolerance, None if first is None else first.name, hint)


def _runner(model: nn.Module) -> Callable[[Any, jax.Array], dict[str, jax.Array]]:
    """All taps and the logits, in order."""
    names = _compared(model)

    @jax.jit
    def run(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        logits, sown = model.apply(variables, images, train=False, mutable=["intermediates"])
        return {n: sown["intermediates"][n][0] for n in names if n != LOGITS} | {LOGITS: logits}

    def ordered(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        found = run(variables, images)  # jit sorts the names
        return {name: found[name] for name in names}

    return ordered


def _compared(model: nn.Module) -> tuple[str, ...]:
    """The names of the activations that can be compared."""
    if not hasattr(model, "taps"):
        raise WeightsError(
            f"{type(model).__name__} has no `taps`, by which activations are compared: an audit "
            "takes the networks of jaxcnn.models."
        )
    return (*(tap.name for tap in model.taps), LOGITS)


def _split(
    arrays: Mapping[str, Any], model: nn.Module
) -> tuple[jax.Array, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The reference's images and activations, channels last, and its running statistics."""
    if IMAGES not in arrays or np.ndim(arrays[IMAGES]) != 4:
        raise WeightsError(
            f"The reference needs {IMAGES!r} [B, C, H, W], as the network saw them; "
            "docs/weights.md shows how one is recorded."
        )
    images = jnp.asarray(_ours(np.asarray(arrays[IMAGES])), jnp.float32)
    known = _compared(model)
    counted = statistics(model, _size(images))
    wanted, trained = {}, {}
    for name, value in arrays.items():
        if name in known:
            wanted[name] = _ours(np.asarray(value))
        elif name.startswith(TRAINED) and name.removeprefix(TRAINED) in counted:
            trained[name] = np.asarray(value)
        elif name != IMAGES:
            raise WeightsError(
                f"The reference holds {name!r}{nearest(name, known)}, which is no activation of "
                f"this {type(model).__name__}; it has {', '.join(known)}, and {TRAINED}NAME for "
                "running statistics."
            )
    if not wanted and not trained:
        raise WeightsError(f"The reference holds nothing to compare; give any of {known}.")
    return images, wanted, trained


def _ours(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def _theirs(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x


def _size(images: jax.Array) -> tuple[int, int]:
    return images.shape[1], images.shape[2]


def _row(name: str, ours: np.ndarray, reference: np.ndarray) -> Row:
    return Row(name, _error(ours, reference), ours.shape, reference.shape)


def _error(ours: np.ndarray, reference: np.ndarray) -> float:
    if ours.shape != reference.shape:
        return float("inf")
    difference = np.asarray(ours, np.float64) - reference
    size = np.linalg.norm(reference.astype(np.float64))
    return float(np.linalg.norm(difference) / size) if size else float(np.abs(difference).max())


Changed = Callable[[], Mapping[str, Any]]


def _explain(
    run: Any,
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    wanted: Mapping[str, np.ndarray],
    first: Row,
    tolerance: float,
) -> str:
    """The change that makes the first divergence vanish, and what still diverges then."""
    for cause, change in _changes(run, model, variables, images):
        try:
            found = {name: np.asarray(value) for name, value in change().items()}
        except (TypeError, ValueError):  # shapes that no longer fit each other
            continue
        if not _error(found[first.name], wanted[first.name]) <= tolerance:
            continue
        errors = {n: _error(found[n], wanted[n]) for n in found if n in wanted}
        rest = next((n for n, error in errors.items() if not error <= tolerance), None)
        after = "everything agrees" if rest is None else f"the next to diverge is {rest}"
        return f"{cause} With that, {after}."
    return ""


def _changes(
    run: Any, model: nn.Module, variables: Mapping[str, Any], images: jax.Array
) -> Iterator[tuple[str, Changed]]:
    """What often goes wrong, as sentences, and the network run as if it had."""
    if images.shape[-1] > 1:
        yield (
            "Channel order: the reference saw the images' channels in reverse (BGR for RGB).",
            lambda: run(variables, images[..., ::-1]),
        )
    norm = getattr(model, "norm", None)
    if norm is not None:
        for epsilon in _EPSILONS:
            yield (
                f"BatchNorm epsilon: the reference's is {epsilon:g}, ours {norm.epsilon:g}; build "
                f"the network with norm=NormConfig(epsilon={epsilon:g}).",
                functools.partial(_with_epsilon, run, variables, images, epsilon - norm.epsilon),
            )
    for path, grid in dense_after_flatten(model, _size(images)):
        for order, source in (("channels first", False), ("channels last", True)):
            yield (
                f"Flatten order: {path[0]} reads a map that was flattened {order} when its weights "
                "were made; from_torch reorders PyTorch's, so hand them over as they are.",
                functools.partial(_reordered, run, variables, images, path, grid, source),
            )
    for what, (operations, scheme) in WINDOWS.items():
        yield (
            f"Padding: the reference has {what}.",
            functools.partial(repadded, run, operations, scheme, variables, images),
        )


def _with_epsilon(run: Any, variables: Any, images: jax.Array, difference: float) -> Any:
    # In evaluation epsilon is only ever added to the running variance.
    stats = jax.tree_util.tree_map_with_path(
        lambda path, x: x + difference if path[-1].key == "var" else x, variables["batch_stats"]
    )
    return run({**variables, "batch_stats": stats}, images)


def _reordered(
    run: Any, variables: Any, images: jax.Array, path: tuple[str, ...], grid: Any, back: bool
) -> Any:
    """The network with the rows of a dense kernel moved from one flatten order to the other."""
    flat = flatten_dict(dict(variables["params"]))
    kernel = np.asarray(flat[(*path, "kernel")])
    channels = kernel.shape[0] // (grid[0] * grid[1])
    if back:
        moved = kernel.reshape(*grid, channels, -1).transpose(2, 0, 1, 3)
    else:
        moved = kernel.reshape(channels, *grid, -1).transpose(1, 2, 0, 3)
    flat[(*path, "kernel")] = moved.reshape(kernel.shape)
    return run({**variables, "params": unflatten_dict(flat)}, images)


def _describe(first: Row, ours: np.ndarray, reference: np.ndarray, rows: list[Row]) -> str:
    """What a difference looks like that no change explains."""
    names = [row.name for row in rows]
    place = names.index(first.name)
    before = f"after {names[place - 1]}" if place else "after the images"
    where = f"None of the usual causes reproduces it; it arises {before}"
    if ours.shape != reference.shape:
        return f"{where}. The shapes differ: padding, strides or a variant (v1, v1.5) of another."
    means = tuple(range(ours.ndim - 1))
    if _error(np.sort(ours.mean(means)), np.sort(reference.mean(means))) < first.error / _BORDER:
        return f"{where}. The same channels come in another order: channel order of its weights."
    if ours.ndim == 4 and min(ours.shape[1:3]) > 4:
        inside = np.s_[:, 2:-2, 2:-2]
        if _error(ours[inside], reference[inside]) < first.error / _BORDER:
            return f"{where}. The border differs and the inside agrees: padding."
    return (
        f"{where}. Compare the layers between one by one (weights, activation functions, the "
        "variant), or record more taps."
    )


def _train_once(model: nn.Module, variables: Any, images: jax.Array) -> dict[Any, np.ndarray]:
    @jax.jit
    def run(v: Any, x: jax.Array) -> Any:
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(v, x, train=True, rngs=rngs, mutable=["batch_stats"])[1]

    return {path: np.asarray(value) for path, value in flatten_dict(run(variables, images)).items()}


def _trained_rows(
    model: nn.Module, variables: Any, images: jax.Array, trained: Mapping[str, np.ndarray]
) -> list[Row]:
    ours, paths = _train_once(model, variables, images), statistics(model, _size(images))
    rows = [_row(n, ours[paths[n.removeprefix(TRAINED)]], value) for n, value in trained.items()]
    return sorted(rows, key=lambda row: "var" in row.name)  # the variance may differ alone


def _explain_statistics(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    trained: Mapping[str, np.ndarray],
    row: Row,
) -> str:
    """The momentum, or the kind of variance, that gives the reference's running statistics."""
    norm, path = model.norm, statistics(model, _size(images))[row.name.removeprefix(TRAINED)]
    old = np.asarray(flatten_dict(dict(variables))[path], np.float64)
    new = _train_once(model, variables, images)[path]
    batch = (new - norm.momentum * old) / (1 - norm.momentum)
    momentum = float(np.vdot(trained[row.name] - batch, old - batch) / np.vdot(*[old - batch] * 2))
    momentum = min(max(round(momentum, 4), 0.0), 0.9999)
    for changed, cause in (
        (
            {"momentum": momentum},
            f"BatchNorm momentum: the reference weights the old value by {momentum:g} (PyTorch "
            f"calls that momentum={round(1 - momentum, 4):g}), ours by {norm.momentum:g}; build "
            f"the network with norm=NormConfig(momentum={momentum:g}).",
        ),
        (
            {"unbiased": True},
            "BatchNorm variance: the reference keeps the unbiased one, as PyTorch does; build the "
            "network with norm=NormConfig(unbiased=True).",
        ),
    ):
        other = model.clone(norm=dataclasses.replace(norm, **changed))
        errors = [r for r in _trained_rows(other, variables, images, trained) if r.name == row.name]
        if errors[0].error < min(1e-3, row.error / _BORDER):
            return cause
    return "BatchNorm momentum or epsilon: neither another momentum nor variance explains it."
