"""Networks side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from flax import linen as nn

from jaxcnn.analysis import page, render, tables
from jaxcnn.analysis.summary import Summary, summarize


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Summaries of several networks; ratios are to the first. `print` gives the table."""

    summaries: tuple[Summary, ...]

    @property
    def records(self) -> list[dict[str, Any]]:
        """One record for each network: params, macs, flops, activations, depth, ratios, ..."""
        return tables.comparison_records(self.summaries)

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int | None = None, *, color: bool | None = None) -> str:
        """The table for a terminal."""
        return render.text(tables.comparison_table(self.summaries), width, color)

    def to_markdown(self) -> str:
        """A Markdown table."""
        return render.markdown(tables.comparison_table(self.summaries))

    def to_json(self) -> str:
        """The records as a list."""
        return render.to_json(self.records)

    def to_csv(self) -> str:
        """One line for each network."""
        return render.to_csv(self.records)

    def to_html(self) -> str:
        """One page that needs nothing else."""
        return page.page(tables.comparison_table(self.summaries))


def compare(
    models: Sequence[str | nn.Module],
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 1,
    channels: int | None = None,
    **fields: Any,
) -> Comparison:
    """Networks side by side, each as `summarize` sees it; arguments are for all of them.

    Without an image size each named network is seen at its own, which differ: see the line Input.
    Raises as `summarize` does.
    """
    if not models:
        raise ValueError("There is nothing to compare; give at least one network.")
    return Comparison(
        tuple(summarize(model, image_size, batch_size, channels, **fields) for model in models)
    )
