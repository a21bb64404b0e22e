"""What a page holds: the network, its weights, the photos and what the network makes of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.data.augment import normalize
from jaxcnn.explore import playground, shift
from jaxcnn.explore.blocks import Blocks, Pool, plain
from jaxcnn.explore.budget import Limits, PageError, Plan, plan
from jaxcnn.explore.diagram import as_record, describe, diagram
from jaxcnn.explore.graph import Graph, Node, build_graph
from jaxcnn.explore.photos import Photo
from jaxcnn.explore.values import node_values
from jaxcnn.preprocess import Preprocess
from jaxcnn.visualize import Program
from jaxcnn.visualize.cam import cam_function

TOP = 5
# Classes for which a photo has a class activation map.
CAMS = 3
_PARAMS = {
    "conv": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch norm": ("scale", "bias", "mean", "var"),
}


class Explorable(Protocol):
    """A network with its weights, as `jaxcnn.load_network` gives it."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def variables(self) -> Any: ...
    @property
    def preprocess(self) -> Preprocess: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...
    @property
    def step(self) -> int | None: ...


@dataclasses.dataclass
class Content:
    """The page's data: a record that becomes JSON, and the arrays that it points to."""

    record: dict[str, Any]
    blocks: Blocks


def build_content(
    network: Explorable,
    photos: Sequence[Photo],
    *,
    second: Explorable | None = None,
    limits: Limits = Limits(),  # noqa: B008
    progress: Callable[[str], None] = lambda step: None,
) -> Content:
    """Everything that a page shows.

    `second` is a network whose scores stand beside the first one's when the photo is moved.
    `progress` is told of each step that begins.

    Raises:
      PageError: a network without a convolution, another network for other images or classes,
        no photo, or more than the limits allow.
      TraceError: the network cannot be traced.
    """
    network = _in_float32(network)
    size, channels = network.preprocess.image_size, network.preprocess.channels
    graph = build_graph(network.model, size, channels)
    _check(network, graph, photos, second)
    root = diagram(graph)
    if limits.photos is not None:
        photos = photos[: limits.photos]
    embedded = plan(graph, root, limits, len(photos))
    blocks, pool = Blocks(), Pool()
    probabilities = _probabilities(network, photos)
    units = _units(probabilities, embedded)
    nodes = _nodes(graph, embedded, network.variables, units, pool)
    weights = blocks.add(pool.values(), "f32")
    record: dict[str, Any] = {
        "network": _facts(network, graph, embedded),
        **_tables(graph, nodes),
        "nodes": nodes,
        "diagram": as_record(root, graph),
        "weights": weights,
        "values": _layout(graph, embedded),
    }
    record["photos"] = _photos(
        network, graph, photos, probabilities, embedded, limits, blocks, progress
    )
    shown = photos[: len(record["photos"])]
    macs = sum(n.macs for n in graph.nodes)
    record["shift"] = _shift(network, second, shown, macs, blocks, progress)
    record["filters"] = playground.record(graph, network.variables)
    return Content(record, blocks)


def _photos(
    network: Explorable,
    graph: Graph,
    photos: Sequence[Photo],
    probabilities: Sequence[np.ndarray],
    embedded: Plan,
    limits: Limits,
    blocks: Blocks,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The photos' entries; fewer than offered where no number was asked for and no more fit."""
    run = node_values(graph, network.variables, embedded.recorded)
    cams = _Cams(network)
    fixed = blocks.size
    entries: list[dict[str, Any]] = []
    for number, photo in enumerate(photos):
        progress(f"photo {number + 1} of {len(photos)}")
        entry = _photo(photo, probabilities[number], blocks)
        best = [c for c, _ in entry["scores"][:CAMS]]
        entry["cams"] = cams.record(_inputs(network, photo.pixels), best, blocks)
        if embedded.recorded:
            values = [v.reshape(-1) for v in run(_inputs(network, photo.pixels))]
            entry["scales"] = [_scale(v) for v in values]
            scaled = [v / s for v, s in zip(values, entry["scales"], strict=True)]
            entry["values"] = blocks.add(np.concatenate(scaled), "f16")
        each = (blocks.size - fixed) / (number + 1)
        if fixed + each * len(photos) > limits.bytes and limits.photos is not None:
            raise _too_many(limits, len(photos), each, fixed, embedded)
        if blocks.size > limits.bytes:
            if number == 0:
                raise _too_many(limits, 1, each, fixed, embedded)
            break
        entries.append(entry)
    return entries


def _in_float32(network: Explorable) -> Explorable:
    """The network computing in float32, as the page does, whatever it was trained in."""
    if getattr(network.model, "dtype", jnp.float32) in (None, jnp.float32):
        return network
    model = network.model.clone(dtype=jnp.float32)
    return dataclasses.replace(network, model=model)  # type: ignore[type-var]


def _check(
    network: Explorable, graph: Graph, photos: Sequence[Photo], second: Explorable | None
) -> None:
    if not any(node.kind == "conv" for node in graph.nodes):
        raise PageError(
            f"{network.name} has no convolution, so that there are no feature maps and kernels to "
            "see; explore a convolutional network, and give this one as --mlp to compare it."
        )
    if not photos:
        raise PageError("No photo to show; give some (--images FILE ...), or a --dataset.")
    if not network.class_names:
        raise PageError(
            f"{network.name} has no head, and so no class scores; give one with classes."
        )
    if second is None:
        return
    mine, other = network.preprocess, second.preprocess
    if (mine.image_size, mine.channels) != (other.image_size, other.channels):
        raise PageError(
            f"{second.name} takes images of {other.image_size} with {other.channels} channels, and "
            f"{network.name} of {mine.image_size} with {mine.channels}; compare networks of the "
            "same images."
        )
    if len(second.class_names) != len(network.class_names):
        raise PageError(
            f"{second.name} has {len(second.class_names)} classes and {network.name} "
            f"{len(network.class_names)}; compare networks of the same classes."
        )


def _too_many(limits: Limits, photos: int, each: float, fixed: float, embedded: Plan) -> PageError:
    room = max(limits.bytes - fixed, 0)
    fit = int(room / each) if each else 0
    remedy = f"give at most {fit} (--photos {fit})" if fit else "give fewer --channels or --layers"
    return PageError(
        f"{photos} photos take {each / 1e6:.1f} MB each, and the kernels of {embedded.channels} "
        f"channels {fixed / 1e6:.1f} MB: more than the limit of {limits.max_mb:g} MB; {remedy}, or "
        "a larger --max-mb."
    )


def _inputs(network: Explorable, pixels: np.ndarray) -> jax.Array:
    record = network.preprocess
    return normalize(jnp.asarray(pixels)[None], record.mean, record.std)


def _probabilities(network: Explorable, photos: Sequence[Photo]) -> list[np.ndarray]:
    run = jax.jit(network.model.apply, static_argnames="train")
    logits = [run(network.variables, _inputs(network, p.pixels), train=False) for p in photos]
    return [np.asarray(jax.nn.softmax(row[0])) for row in logits]


def _units(probabilities: Sequence[np.ndarray], embedded: Plan) -> list[int]:
    """The classes whose weights are embedded: the photos' best ones, then the first."""
    best = [int(c) for p in probabilities for c in np.argsort(-p, kind="stable")[:TOP]]
    ranked = dict.fromkeys([*best, *range(len(probabilities[0]))])
    return sorted(list(ranked)[: max(embedded.channels, len(set(best)))])


def _facts(network: Explorable, graph: Graph, embedded: Plan) -> dict[str, Any]:
    record = network.preprocess
    return {
        "name": network.name,
        "source": str(network.source).rstrip("/").rpartition("/")[2],
        "step": network.step,
        "classes": list(network.class_names),
        "mean": list(record.mean),
        "std": list(record.std),
        "whole": embedded.whole,
        "channels": embedded.channels,
        "params": sum(n.params for n in graph.nodes),
        "macs": sum(n.macs for n in graph.nodes),
        "bytes": sum(n.activation_bytes for n in graph.nodes),
        "depth": sum(n.kind in ("conv", "dense") for n in graph.nodes),
    }


def _tables(graph: Graph, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The intervals of pixels that rows and columns of units see, each table once."""
    tables: dict[Any, int] = {}
    for node, entry in zip(graph.nodes, nodes, strict=True):
        entry["rows"] = tables.setdefault(node.rows, len(tables))
        entry["columns"] = tables.setdefault(node.columns, len(tables))
    return {"intervals": [[n for pair in table for n in pair] for table in tables]}


def _nodes(
    graph: Graph, embedded: Plan, variables: Any, units: list[int], pool: Pool
) -> list[dict[str, Any]]:
    entries = []
    last_dense = max((i for i, n in enumerate(graph.nodes) if n.kind == "dense"), default=None)
    for index, node in enumerate(graph.nodes):
        entry = _node(node)
        entry["open"] = embedded.opened[index]
        shown = node.shape[-1] if embedded.whole else min(node.shape[-1], embedded.channels)
        chosen = units if index == last_dense and not embedded.whole else list(range(shown))
        entry["units"] = None if len(chosen) == node.shape[-1] else chosen
        if node.kind in _PARAMS and (embedded.opened[index] or embedded.whole):
            entry["weights"] = _weights(node, variables, entry["units"], pool)
        entries.append(entry)
    return entries


def _node(node: Node) -> dict[str, Any]:
    row = node.row
    return {
        "kind": node.kind,
        "name": node.name,
        "text": describe(node),
        "inputs": node.inputs,
        "shape": list(node.shape),
        "params": node.params,
        "macs": node.macs,
        "bytes": node.activation_bytes,
        "kernel": plain(row.kernel) if row else None,
        "stride": plain(row.stride) if row else None,
        "padding": plain(row.padding) if row else None,
        "dilation": plain(row.dilation) if row else None,
        "groups": row.groups if row else 1,
        "sees": plain(row.receptive_field) if row else None,
        "facts": {k: v for k, v in node.facts.items() if k != "label"},
    }


def _weights(node: Node, variables: Any, units: list[int] | None, pool: Pool) -> dict[str, Any]:
    """Where a layer's parameters lie in the pool; only some units' where not all are embedded."""
    found = {}
    for name in _PARAMS[node.kind]:
        for collection in ("params", "batch_stats"):
            leaf = variables.get(collection, {})
            for part in (*node.path, name):
                leaf = leaf.get(part, {}) if hasattr(leaf, "get") else {}
            if not hasattr(leaf, "shape"):
                continue
            values = np.asarray(leaf)
            found[name] = pool.add(values if units is None else values[..., units])
    return found


def _scale(values: np.ndarray) -> float:
    """A power of two by which values are divided to lie in float16's range, 1 where they do."""
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise PageError(
            "A layer's values are not finite: the weights are damaged, or training diverged."
        )
    return float(2.0 ** max(0, math.ceil(math.log2(largest / 2**15)))) if largest else 1.0


def _layout(graph: Graph, embedded: Plan) -> dict[str, int]:
    """Where each recorded node's values start in a photo's block."""
    starts, at = {}, 0
    for index in embedded.recorded:
        starts[str(index)] = at
        at += int(np.prod(graph.nodes[index].shape))
    return starts


def _photo(photo: Photo, probabilities: np.ndarray, blocks: Blocks) -> dict[str, Any]:
    best = np.argsort(-probabilities, kind="stable")[:10]
    entry: dict[str, Any] = {
        "name": photo.name,
        "truth": photo.truth,
        "pixels": blocks.add(photo.pixels, "u8"),
        "scores": [[int(c), round(float(probabilities[c]), 6)] for c in best],
    }
    same = photo.picture.shape == photo.pixels.shape and (photo.picture == photo.pixels).all()
    entry["picture"] = entry["pixels"] if same else blocks.add(photo.picture, "u8")
    return entry


class _Cams:
    """Grad-CAM of one photo after another, compiled once."""

    def __init__(self, network: Explorable) -> None:
        record = network.preprocess
        self.count = min(CAMS, len(network.class_names))
        shape = (self.count, *record.image_size, record.channels)
        self.program = Program(network.model, network.variables, np.empty(shape))
        self.layer = self.program.cam_layer()
        self.maps = cam_function(self.program, self.layer)

    def record(self, inputs: jax.Array, classes: list[int], blocks: Blocks) -> list[dict[str, Any]]:
        """The maps for classes on the layer's grid, 255 at the largest; without evidence, none."""
        photos = jnp.repeat(inputs, self.count, axis=0)
        maps = np.asarray(self.maps(self.program.weights, photos, jnp.asarray(classes)))
        return [
            {
                "class": c,
                "layer": self.layer,
                "map": blocks.add(np.rint(255 * m / m.max()).astype(np.uint8), "u8"),
            }
            for c, m in zip(classes, maps, strict=True)
            if m.max() > 0
        ]


def _shift(
    network: Explorable,
    second: Explorable | None,
    photos: Sequence[Photo],
    macs: int,
    blocks: Blocks,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Scores over shifts: per photo the classes that are shown, and a block for each network."""
    grid = shift.offsets(network.preprocess.image_size, macs, len(photos)).pixels
    networks = [network] + ([_in_float32(second)] if second is not None else [])
    names = [n.name for n in networks]
    known = list(network.class_names)
    pixels = [photo.pixels for photo in photos]
    moved = [shift.shift_scores(n.model, n.variables, n.preprocess, pixels, grid) for n in networks]
    entries = []
    for number, photo in enumerate(photos, 1):
        progress(f"shifts of photo {number} of {len(photos)}")
        scores = [next(of_network) for of_network in moved]
        centre = len(grid) // 2
        order = [int(c) for c in np.argsort(-scores[0][centre, centre], kind="stable")]
        for other in scores:  # what wins anywhere is shown too
            order = [*order[:TOP], *np.unique(other.argmax(-1)).tolist(), *order[TOP:]]
        classes = [int(c) for c in dict.fromkeys(order)][:10]
        entries.append(
            {
                "classes": classes,
                "target": known.index(photo.truth) if photo.truth in known else order[0],
                "scores": [blocks.add(s[..., classes], "f16") for s in scores],
                "best": [
                    blocks.add(s.argmax(-1), "u8" if s.shape[-1] < 256 else "f32") for s in scores
                ],
            }
        )
    return {"grid": list(grid), "networks": names, "photos": entries}
