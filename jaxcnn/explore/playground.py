"""The bridge from classical filters to learned ones: kernels by name, and which are alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxcnn import filters
from jaxcnn.explore.graph import Graph
from jaxcnn.filters.color import LUMINANCE
from jaxcnn.visualize import nearest_filter

SIZES = (3, 5)


def record(graph: Graph, variables: Any) -> dict[str, Any]:
    """The classical kernels of each size, the gray formula, and the first layer's matches."""
    number = next(i for i, n in enumerate(graph.nodes) if n.kind == "conv")
    leaf = variables["params"]
    for part in graph.nodes[number].path:
        leaf = leaf[part]
    kernel = np.asarray(leaf["kernel"], np.float64)
    matches = []
    for channel in range(kernel.shape[-1]):
        match = nearest_filter(kernel[..., channel])
        matches.append({"name": match.name, "correlation": match.correlation})
    return {
        "gray": list(LUMINANCE),
        "banks": {
            str(size): {n: k.round(6).tolist() for n, k in filters.classical_kernels(size).items()}
            for size in SIZES
        },
        "layer": number,
        "matches": matches,
    }
