"""The graph as a person reads it: cards, folded into blocks and stages, each with its lanes.

A card is a layer with what follows it value by value (convolution, BatchNorm, ReLU). Cards of one
module are a block, modules of one stage a stage, as their names say. Inside each of them the
children lie in ranks, from top to bottom, and lanes, side by side: the branches of an inception
module, the shortcut around a residual block.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from jaxcnn.explore.graph import Graph, Node

# Kinds that join the card of the layer before them.
FOLLOWERS = ("batch norm", "relu", "tanh", "flatten", "pad channels")
_STAGE = re.compile(r"[a-z]+\d*")
ENTRY, EXIT = -1, -2


@dataclasses.dataclass
class Box:
    """A card (`nodes`, no children) or a group of boxes.

    `rank` and `lane` are its place in the group around it; `lanes` is how many lanes its own
    children need. `edges` are (from, to, lane): children by their position, ENTRY for what comes
    in, EXIT for what goes out, and the lane in which the line runs.
    """

    name: str
    nodes: list[int]
    children: list[Box] = dataclasses.field(default_factory=list)
    edges: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)
    rank: int = 0
    lane: int = 0
    lanes: int = 1


def diagram(graph: Graph) -> Box:
    """The whole network as one box."""
    cards = _cards(graph)
    paths = _groups(graph, cards)
    readers = graph.readers
    root = _nest("", list(zip(paths, cards, strict=True)))
    if not _ordered(root, readers):  # a name that spans layers of another one is no group
        root = Box("", [], [Box(_name(graph, c), c) for c in cards])
    _name_cards(graph, root)
    _lay(root, readers)
    return root


def as_record(box: Box, graph: Graph) -> dict[str, Any]:
    """The box as JSON, with its totals."""
    nodes = [graph.nodes[i] for i in members(box)]
    return {
        "name": box.name,
        "nodes": box.nodes,
        "children": [as_record(child, graph) for child in box.children],
        "edges": [list(edge) for edge in box.edges],
        "rank": box.rank,
        "lane": box.lane,
        "lanes": box.lanes,
        "params": sum(n.params for n in nodes),
        "macs": sum(n.macs for n in nodes),
        "bytes": sum(n.activation_bytes for n in nodes),
        "depth": sum(n.kind in ("conv", "dense") for n in nodes),
    }


def members(box: Box) -> list[int]:
    """The nodes of a box and of all in it."""
    return [*box.nodes, *(i for child in box.children for i in members(child))]


def _cards(graph: Graph) -> list[list[int]]:
    """The nodes as chains: each layer with its followers."""
    readers = graph.readers
    card_of: dict[int, int] = {}
    cards: list[list[int]] = []
    for index, node in enumerate(graph.nodes):
        before = node.inputs[0] if len(node.inputs) == 1 else None
        follows = (
            node.kind in FOLLOWERS
            and before is not None
            and before > 0
            and len(readers[before]) == 1
            and cards[card_of[before]][-1] == before
        )
        if follows and before is not None:
            card_of[index] = card_of[before]
            cards[card_of[index]].append(index)
        else:
            card_of[index] = len(cards)
            cards.append([index])
    return cards


def _groups(graph: Graph, cards: list[list[int]]) -> list[tuple[str, ...]]:
    """For each card the names of its stage and block, outermost first."""
    paths: list[tuple[str, ...]] = []
    stages: list[str | None] = []
    for card in cards:
        node = graph.nodes[card[0]]
        # A layer's own name is no group, an operation's call is.
        own = bool(node.path) and node.name == "/".join(node.path)
        inside = node.path[:-1] if own else node.path
        found = _STAGE.match(node.path[0]) if node.path else None
        stages.append(found[0] if found else None)
        paths.append(inside[:1])
    where = {index: number for number, card in enumerate(cards) for index in card}
    readers = graph.readers
    for number, card in enumerate(cards):
        if stages[number] is None and number:  # pooling inside of a stage belongs to it
            near = [*graph.nodes[card[0]].inputs, *readers[card[-1]]]
            around = {stages[where[i]] for i in near}
            stages[number] = around.pop() if len(around) == 1 else None
    return [((stage,) if stage else ()) + path for stage, path in zip(stages, paths, strict=True)]


def _nest(name: str, items: Sequence[tuple[tuple[str, ...], list[int]]]) -> Box:
    """Boxes by the first name of each path; a box with a single child is that child."""
    box = Box(name, [])
    inner: dict[str, list[tuple[tuple[str, ...], list[int]]]] = {}
    for path, card in items:
        if not path:
            box.children.append(Box("", card))
            continue
        if path[0] not in inner:
            inner[path[0]] = []
            box.children.append(Box(path[0], []))
        inner[path[0]].append((path[1:], card))
    for position, child in enumerate(box.children):
        if child.name in inner and not child.nodes:
            nested = _nest(child.name, inner[child.name])
            box.children[position] = nested.children[0] if len(nested.children) == 1 else nested
    return box


def _ordered(box: Box, readers: list[list[int]]) -> bool:
    """Whether no two boxes wait for each other, here and in all boxes inside."""
    where = {i: n for n, child in enumerate(box.children) for i in members(child)}
    after: list[set[int]] = [set() for _ in box.children]
    for index, number in where.items():
        after[number] |= {where[r] for r in readers[index] if r in where} - {number}
    left = set(range(len(box.children)))
    while left:
        ready = [n for n in left if not any(n in after[m] for m in left)]
        if not ready:
            return False
        left -= set(ready)
    return all(_ordered(child, readers) for child in box.children)


def _name(graph: Graph, card: list[int]) -> str:
    return graph.nodes[card[0]].name


def _name_cards(graph: Graph, box: Box) -> None:
    if box.nodes:
        box.name = _name(graph, box.nodes)
    for child in box.children:
        _name_cards(graph, child)


def _lay(box: Box, readers: list[list[int]]) -> None:
    """Ranks by the longest way from the entry; lanes so that no line runs through a card."""
    if not box.children:
        return
    inside = [set(members(child)) for child in box.children]
    where = {i: n for n, ids in enumerate(inside) for i in ids}
    edges = _edges(box, readers, where)
    order = _order(len(box.children), edges)
    for number in order:
        into = [a for a, b in edges if b == number]
        box.children[number].rank = max(
            (box.children[a].rank + 1 for a in into if a >= 0), default=0
        )
    taken: set[tuple[int, int]] = set()
    lane_of = {ENTRY: 0}
    last = max(child.rank for child in box.children) + 1
    for number in sorted(order, key=lambda n: box.children[n].rank):
        child = box.children[number]
        wish = [lane_of[a] for a, b in edges if b == number and a in lane_of]
        lane = wish[0] if wish and (child.rank, wish[0]) not in taken else 0
        while (child.rank, lane) in taken:
            lane += 1
        child.lane = lane_of[number] = lane
        taken.add((child.rank, lane))
    for a, b in edges:
        start = -1 if a == ENTRY else box.children[a].rank
        stop = last if b == EXIT else box.children[b].rank
        passed = range(start + 1, stop)
        # A short line runs in the lane of the end that has one of its own.
        lane = lane_of[b] if b >= 0 and a == ENTRY else lane_of[a]
        if b >= 0 and not passed and lane_of[b] > lane:
            lane = lane_of[b]
        while any((rank, lane) in taken for rank in passed):
            lane += 1
        taken |= {(rank, lane) for rank in passed}
        box.edges.append((a, b, lane))
    box.lanes = 1 + max([lane for _, _, lane in box.edges] + [c.lane for c in box.children])
    for child in box.children:
        _lay(child, readers)


def _edges(box: Box, readers: list[list[int]], where: dict[int, int]) -> list[tuple[int, int]]:
    """Which child reads which, once each; ENTRY and EXIT stand for all outside."""
    found: dict[tuple[int, int], None] = {}
    for source, targets in enumerate(readers):
        for target in targets:
            a, b = where.get(source, ENTRY), where.get(target, EXIT)
            if a != b and not (a == ENTRY and b == EXIT):
                found[a, b] = None
    return list(found)


def _order(count: int, edges: list[tuple[int, int]]) -> list[int]:
    waiting = {n: {a for a, b in edges if b == n and a >= 0} for n in range(count)}
    order: list[int] = []
    while waiting:
        number = next(n for n, before in waiting.items() if before <= set(order))
        order.append(number)
        del waiting[number]
    return order


def describe(node: Node) -> str:
    """What a node is, in a few words: '3x3 convolution, stride 2'."""
    row = node.row
    size = "x".join(map(str, row.kernel)) if row and row.kernel else ""
    words = {
        "conv": f"{size} convolution",
        "relu": "ReLU",
        "subsample": "every second pixel",
        "pad channels": "channels of zeros",
    }
    text = words.get(node.kind, node.facts.get("label", f"{size} {node.kind}".strip()))
    if row and row.stride and max(row.stride) > 1:
        text += f", stride {row.stride[0]}"
    if row and row.groups > 1:
        text += f", {row.groups} groups"
    return text
