"""How much gradient reaches each layer while a network trains."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util
from matplotlib.colors import LogNorm

from jaxcnn.analysis.trace import mode_arguments
from jaxcnn.visualize.canvas import LINES, new_figure, quiet, save
from jaxcnn.visualize.program import Program, initial_variables


@dataclasses.dataclass(frozen=True)
class GradientFlow:
    """Norms of the gradient by layer and step.

    Attributes:
      name: of the network.
      layers: paths of the modules with a kernel, from the input to the output.
      norms: float [steps, layers], the L2 norm of the loss's gradient for the layer's kernel.
      losses: float [steps], the loss before the step.
    """

    name: str
    layers: tuple[str, ...]
    norms: np.ndarray
    losses: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """float [steps]: the largest norm over the smallest, 1 where all layers get the same."""
        smallest = np.maximum(self.norms.min(axis=1), np.finfo(np.float32).tiny)
        return self.norms.max(axis=1) / smallest


def kernel_norms(gradients: Any) -> dict[str, jax.Array]:
    """The L2 norm of each kernel's gradient, by the module's path; for use inside any step."""
    flat = traverse_util.flatten_dict(gradients, sep="/")
    return {
        name.removesuffix("/kernel"): jnp.sqrt(jnp.sum(jnp.square(value.astype(jnp.float32))))
        for name, value in flat.items()
        if name.endswith("/kernel")
    }


def gradient_flow(
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    *,
    name: str = "",
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    seed: int = 0,
    call_args: Mapping[str, Any] | None = None,
) -> GradientFlow:
    """Train a fresh network by SGD, one step for each batch, and record every step's gradients.

    Args:
      model: a Linen module that gives logits.
      batches: pairs of normalised images float [B, H, W, C] and labels int [B], all of one shape.
      name: shown in pictures; the class's by default.
      learning_rate: of SGD; the defaults are those of He et al. 2015, section 4.2.
      momentum: share of the old velocity.
      weight_decay: added to the gradient, times the weights.
      seed: of the initial weights and dropout.
      call_args: further arguments of the module's call.

    Raises:
      ValueError: no batches.
      FloatingPointError: the loss is not finite any more; says in which step.
    """
    arguments = {**mode_arguments(model, train=True), **(call_args or {})}
    optimizer = optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum)
    )
    step = _training_step(model, optimizer, arguments)
    key = jax.random.key(seed + 1)
    losses: list[float] = []
    rows: list[dict[str, np.ndarray]] = []
    state: Any = None
    for index, (images, labels) in enumerate(batches):
        images, labels = jnp.asarray(images, jnp.float32), jnp.asarray(labels)
        if state is None:
            variables = initial_variables(model, images.shape[1:], seed, call_args)
            program = Program(model, variables, images[:1], call_args=call_args)
            order = [layer for layer, _ in program.kernels()]
            params = variables.pop("params")
            state = (params, variables, optimizer.init(params))
        state, loss, norms = step(state, images, labels, jax.random.fold_in(key, index))
        losses.append(float(loss))
        rows.append(jax.device_get(norms))
        if not np.isfinite(losses[-1]):
            remedy = f"take a lower learning_rate than {learning_rate}"
            raise FloatingPointError(f"the loss is {losses[-1]} in step {index}; {remedy}.")
    if not rows:
        raise ValueError("no batches: gradient_flow needs at least one.")
    return GradientFlow(
        name=name or type(model).__name__,
        layers=tuple(order),
        norms=np.array([[row[n] for n in order] for row in rows]),
        losses=np.array(losses),
    )


def _training_step(
    model: nn.Module, optimizer: optax.GradientTransformation, arguments: Mapping[str, Any]
) -> Callable[..., Any]:
    """A compiled function (state, images, labels, key) -> (state, loss, norms)."""

    @jax.jit
    def step(state: Any, images: Any, labels: Any, key: Any) -> tuple[Any, Any, Any]:
        params, rest, opt_state = state

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            logits, changed = model.apply(
                {"params": params, **rest},
                images,
                rngs={"dropout": key},
                mutable=list(rest),
                **arguments,
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return loss.mean(), changed

        (loss, changed), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, {**rest, **changed}, opt_state), loss, kernel_norms(gradients)

    return step


def draw_gradient_flow(
    flows: Sequence[GradientFlow], path: pathlib.Path, *, title: str = ""
) -> None:
    """For each network the norms by layer and step, with one scale; norms at the start; losses."""
    figure = new_figure(5.2 * len(flows) + 0.8, 8.6)
    above, below = figure.subfigures(2, 1, height_ratios=[1.1, 1], squeeze=False)[:, 0]
    maps = above.subplots(1, len(flows), squeeze=False)[0]
    values = np.concatenate([flow.norms[flow.norms > 0] for flow in flows])
    scale = LogNorm(max(values.min(), 1e-8 * values.max()), values.max())
    for axes, flow in zip(maps, flows, strict=True):
        mesh = axes.imshow(
            flow.norms.T, aspect="auto", cmap="viridis", norm=scale, interpolation="nearest"
        )
        axes.set_title(flow.name, fontsize=12)
        axes.set_xlabel("step of training")
    maps[0].set_ylabel("layer, from the input (0)\nto the output")
    above.colorbar(mesh, ax=list(maps), label="norm of the kernel's gradient")
    start, losses = below.subplots(1, 2)
    for flow, color in zip(flows, LINES, strict=False):
        start.plot(flow.norms[0], color=color, label=f"{flow.name}, first step")
        start.plot(flow.norms[-1], "--", color=color, label=f"{flow.name}, last step")
        losses.plot(flow.losses, color=color, linewidth=0.8, alpha=0.4)
        window = max(1, len(flow.losses) // 10)
        smooth = np.convolve(flow.losses, np.ones(window) / window, "valid")
        steps = np.arange(len(smooth)) + window - 1
        losses.plot(steps, smooth, color=color, linewidth=2.2, label=flow.name)
    start.set_yscale("log")
    start.set_xlabel("layer, from the input (0) to the output")
    start.set_ylabel("norm of the kernel's gradient")
    losses.set_xlabel("step of training")
    losses.set_ylabel("loss (cross entropy)\nthick: mean of the last steps")
    for axes in (start, losses):
        quiet(axes)
        axes.legend(frameon=False, fontsize=9)
    figure.suptitle(title or "The gradient that reaches each layer", fontweight="bold", fontsize=13)
    save(figure, path)
