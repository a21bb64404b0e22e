"""What of a network fits into a page: everything, or what was recorded of some layers.

A small network is embedded whole, and the page computes every value of any picture by itself. Of a
large one the page has, for each photo, what the chosen layers read (float16), and the kernels of
some of their channels: enough to multiply and add before the reader's eyes.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence

import numpy as np

from jaxcnn.explore.diagram import Box, members
from jaxcnn.explore.graph import Graph

MEGABYTE = 10**6
# What a browser computes in a fraction of a second, and holds without a pause.
WHOLE_PARAMS = 2_000_000
WHOLE_MACS = 300_000_000
# What the page knows to compute; anything else is recorded.
COMPUTED = frozenset(
    {
        "input", "conv", "dense", "batch norm", "relu", "tanh", "max pool", "average pool",
        "global average pool", "global max pool", "add", "concat", "flatten", "subsample",
        "pad channels",
    }
)  # fmt: skip
_READS_ALL = ("conv", "dense")
# Deflate and base64 together, per byte of float16 after a ReLU; measured, see docs/explore.md.
_PACKED = 0.95


class PageError(ValueError):
    """No page can be made of this."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How large a page may get.

    Attributes:
      max_mb: of the file, in millions of bytes.
      photos: how many, of those that are offered; None: as many as fit, at most 10.
      channels: of each layer whose kernels are embedded; None: 16.
      layers: shell patterns of layers' names; None: as many as fit.
    """

    max_mb: float = 25.0
    photos: int | None = None
    channels: int | None = None
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.max_mb < 1:
            raise PageError(f"max_mb={self.max_mb} (--max-mb): a page needs at least 1 MB.")
        for name in ("photos", "channels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PageError(f"{name}={value} (--{name}) must be at least 1.")

    @property
    def bytes(self) -> int:
        return int(self.max_mb * MEGABYTE)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is embedded: `whole`, or the values of `recorded` nodes and `channels` of each layer.

    `opened` says of each node whether the page can show it.
    """

    whole: bool
    recorded: tuple[int, ...]
    opened: tuple[bool, ...]
    channels: int


def plan(graph: Graph, root: Box, limits: Limits, photos: int) -> Plan:
    """The most that fits, by estimate; the page's true size is checked when it is written.

    Raises:
      PageError: not even one photo's first layers fit, or no layer has the name asked for.
    """
    nodes = graph.nodes
    params, macs = sum(n.params for n in nodes), sum(n.macs for n in nodes)
    whole = params <= WHOLE_PARAMS and macs <= WHOLE_MACS and limits.layers is None
    if whole and all(n.kind in COMPUTED for n in nodes) and params * 5.2 < limits.bytes / 2:
        return Plan(True, (), (True,) * len(nodes), max(n.shape[-1] for n in nodes))
    channels = limits.channels or 16
    tried = [_chosen(graph, root, limits, level) for level in range(3 if not limits.layers else 1)]
    for layers in tried:
        recorded = _recorded(graph, layers)
        each = sum(int(np.prod(nodes[i].shape)) for i in recorded) * 2 * _PACKED
        kernels = sum(kernel_values(graph, i, channels) for i in layers) * 4 * 1.25
        if each * photos + kernels < limits.bytes * 0.9:
            break
        if limits.photos is None and layers is tried[-1] and each + kernels < limits.bytes * 0.9:
            break
    else:
        fit = int(max(limits.bytes * 0.9 - kernels, 0) / each)
        what = f"at most {fit} photos (--photos)" if fit else "fewer --channels or --layers"
        raise PageError(
            f"{photos} photos of {each / MEGABYTE:.1f} MB each and {channels} channels' kernels of "
            f"{kernels / MEGABYTE:.1f} MB are more than the limit of {limits.max_mb:g} MB; give "
            f"{what}, or a larger --max-mb."
        )
    return Plan(False, recorded, _opened(graph, set(recorded), set(layers)), channels)


def kernel_values(graph: Graph, index: int, channels: int) -> int:
    """How many numbers the kernels of so many channels of a layer are."""
    node = graph.nodes[index]
    return node.params * min(channels, node.shape[-1]) // node.shape[-1]


def _chosen(graph: Graph, root: Box, limits: Limits, level: int) -> list[int]:
    """The layers with weights that are opened: all, each group's first and last, or its first."""
    if limits.layers is not None:
        names = [n.name for n in graph.nodes if n.kind in _READS_ALL]
        for pattern in limits.layers:
            if not fnmatch.filter(names, pattern):
                raise PageError(
                    f"No layer is named {pattern!r} (--layers); there are {', '.join(names[:4])}, "
                    f"..., {names[-1]}."
                )
        keep: Iterable[int] = (
            i
            for i, n in enumerate(graph.nodes)
            if any(fnmatch.fnmatch(n.name, p) for p in limits.layers)
        )
    else:
        keep = members(root) if level == 0 else _ends(root, both=level == 1)
    return sorted(i for i in keep if graph.nodes[i].kind in _READS_ALL)


def _ends(root: Box, *, both: bool) -> list[int]:
    found: list[int] = []
    for child in root.children:
        inner: Sequence[Box] = child.children or [child]
        found += members(inner[0])
        if both and len(inner) > 1:
            found += members(inner[-1])
    return found


def _recorded(graph: Graph, layers: Sequence[int]) -> tuple[int, ...]:
    """What must be known in full: what the layers read, and what the page cannot compute."""
    wanted = {graph.nodes[i].inputs[0] for i in layers}
    wanted |= {i for i, n in enumerate(graph.nodes) if n.kind not in COMPUTED and wanted}
    return tuple(sorted(wanted - {0}))


def _opened(graph: Graph, recorded: set[int], layers: set[int]) -> tuple[bool, ...]:
    opened: list[bool] = []
    for index, node in enumerate(graph.nodes):
        if index == 0 or index in recorded:
            opened.append(True)
        elif node.kind in _READS_ALL:
            opened.append(index in layers)
        else:
            opened.append(node.kind in COMPUTED and all(opened[i] for i in node.inputs))
    return tuple(opened)
