"""A network's table: one row for each layer, by tracing alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.analysis import page, render, tables
from jaxcnn.analysis import rows as rows_
from jaxcnn.analysis.rows import Row
from jaxcnn.analysis.trace import trace
from jaxcnn.analysis.walk import walk


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `summarize` found. `print(summary)` gives the table.

    Counts are for the whole batch. `total_macs` are the multiply-adds of convolutions and matrix
    products, padding included; `total_flops` is exactly twice that; normalisation, activation
    functions, additions and pooling are not counted. `activations` are the values of the input
    and of the outputs of convolutions, pooling and matrix products, each once: what comes between
    (normalisation, ReLU, dropout, shortcut addition, concatenation) is the same values changed in
    place. `idle_params` belong to modules that inference does not call (auxiliary heads).
    `state_values` are variables that are not trained (running statistics).
    """

    model: str
    input_shape: tuple[int, int, int, int]
    rows: tuple[Row, ...]
    total_params: int
    idle_params: int
    state_values: int
    total_macs: int
    activations: int
    activation_bytes: int
    param_bytes: int
    output_shape: tuple[int, ...]
    inexact: tuple[str, ...] = ()

    @property
    def total_flops(self) -> int:
        """Two for each multiply-add."""
        return 2 * self.total_macs

    @property
    def depth(self) -> int:
        """Layers with a kernel: convolutions and matrix products that inference runs."""
        return sum(row.kind in rows_.WEIGHTED for row in self.rows)

    @property
    def receptive_field(self) -> tuple[int | float, int | float] | None:
        """The largest of a value that still has a stride: that of the last feature map."""
        sized = [r.receptive_field for r in self.rows if r.effective_stride and r.receptive_field]
        return max(sized, key=math.prod, default=None)

    def __getitem__(self, name: str) -> Row:
        """The row of a layer; an unknown name is an error that suggests the near ones."""
        return rows_.find(self.rows, name)

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int | None = None, *, color: bool | None = None) -> str:
        """The table for a terminal of `width` columns; narrow ones show fewer columns."""
        return render.text(tables.summary_table(self), width, color)

    def to_markdown(self) -> str:
        """A Markdown table with the totals below."""
        return render.markdown(tables.summary_table(self))

    def to_json(self) -> str:
        """Every field of every row, the totals, and what is counted."""
        return render.to_json(tables.summary_record(self))

    def to_csv(self) -> str:
        """One line for each row, plain numbers, no totals."""
        return render.to_csv([dataclasses.asdict(row) for row in self.rows])

    def to_html(self) -> str:
        """One page that needs nothing else."""
        return page.page(tables.summary_table(self))


def resolve(
    model: str | nn.Module,
    image_size: int | tuple[int, int] | None,
    channels: int | None,
    **fields: Any,
) -> tuple[str, nn.Module, int | tuple[int, int], int]:
    """Name, module, image size and channels: a known network brings its own defaults."""
    if not isinstance(model, str):
        if fields:
            raise TypeError(f"{', '.join(fields)} can be set only for a network given by name.")
        if image_size is None:
            raise ValueError("image_size is needed for a module; give image_size=224, or (H, W).")
        return type(model).__name__, model, image_size, 3 if channels is None else channels
    from jaxcnn.models import registry

    info = registry.model_info(model)
    return (
        model,
        registry.create_model(model, **fields),
        info.image_size if image_size is None else image_size,
        info.channels if channels is None else channels,
    )


def summarize(
    model_or_name: str | nn.Module,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 1,
    channels: int | None = None,
    *,
    call_args: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Summary:
    """The layers of a network with their parameters, costs and receptive fields.

    Works for any Linen module that takes images [B, H, W, C]; nothing is allocated or computed.
    For a name of `list_models()`, image size and channels default to the network's own and
    `fields` (such as num_classes) override its fields. Raises TraceError where the module cannot be
    traced on such images, ValueError for an unknown name.
    """
    name, model, size, depth = resolve(model_or_name, image_size, channels, **fields)
    traced = trace(model, size, channels=depth, batch_size=batch_size, call_args=call_args)
    walked = walk(traced)
    table = rows_.build(traced, walked)
    params = {p: s for p, s in traced.shapes.items() if p[0] == "params"}
    state = [s for p, s in traced.shapes.items() if p[0] != "params"]
    total = sum(math.prod(s.shape) for s in params.values())
    outputs = jax.tree.leaves(traced.output)
    return Summary(
        model=name,
        input_shape=tuple(traced.images.shape),
        rows=tuple(dataclasses.replace(r, share=r.params / total if total else 0.0) for r in table),
        total_params=total,
        idle_params=sum(r.params for r in table if r.kind == rows_.IDLE),
        state_values=sum(math.prod(s.shape) for s in state),
        total_macs=sum(r.macs for r in table),
        activations=sum(r.activations for r in table),
        activation_bytes=sum(r.activation_bytes for r in table),
        param_bytes=sum(math.prod(s.shape) * s.dtype.itemsize for s in params.values()),
        output_shape=tuple(outputs[0].shape) if outputs else (),
        inexact=tuple(walked.inexact),
    )
