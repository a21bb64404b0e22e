"""The one error of this room."""

from __future__ import annotations


class WeightsError(ValueError):
    """Weights that do not fit a network, or a file that holds none; every mismatch is named."""
