"""The graph and the diagram say what the network is: every layer, branch and shortcut."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import explore
from jaxcnn.analysis import receptive_field
from jaxcnn.explore.diagram import ENTRY, EXIT, Box, members
from jaxcnn.explore.values import node_values


def build(name: str):
    info = jaxcnn.model_info(name)
    return explore.build_graph(jaxcnn.create_model(name), info.image_size, info.channels)


def boxes(box: Box):
    yield box
    for child in box.children:
        yield from boxes(child)


def find(root: Box, name: str) -> Box:
    return next(b for b in boxes(root) if b.name == name and b.children)


def lines(graph, box: Box) -> set[tuple[str, str]]:
    """The edges of a group by the last part of the children's names."""
    names = {ENTRY: "in", EXIT: "out"}
    names |= {i: child.name.partition("/")[2] or child.name for i, child in enumerate(box.children)}
    return {(names[a], names[b]) for a, b, _ in box.edges}


@pytest.mark.parametrize(
    "name",
    ["small_cnn", "lenet5", "cifar_resnet20", "alexnet_paper", "vgg11_bn"],
)
def test_the_nodes_hold_all_that_the_summary_counts(name):
    graph, summary = build(name), jaxcnn.summarize(name)
    assert sum(n.params for n in graph.nodes) == summary.total_params - summary.idle_params
    assert sum(n.macs for n in graph.nodes) == summary.total_macs
    assert sum(n.activation_bytes for n in graph.nodes) == summary.activation_bytes
    assert len({n.name for n in graph.nodes}) == len(graph.nodes)
    root = explore.diagram(graph)
    assert sorted(members(root)) == list(range(len(graph.nodes)))


def test_googlenet_has_four_branches_in_each_of_nine_modules():
    graph = build("googlenet")
    root = explore.diagram(graph)
    modules = [b for b in boxes(root) if b.name.startswith("inception") and len(b.name) == 11]
    assert [b.name[9:] for b in modules] == ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    expected = {
        ("in", "branch1/conv"),
        ("branch1/conv", "concat"),
        ("in", "branch2_reduce/conv"),
        ("branch2_reduce/conv", "branch2/conv"),
        ("branch2/conv", "concat"),
        ("in", "branch3_reduce/conv"),
        ("branch3_reduce/conv", "branch3/conv"),
        ("branch3/conv", "concat"),
        ("branch4/conv", "concat"),
        ("concat", "out"),
    }
    for module in modules:
        found = lines(graph, module)
        pools = {pair for pair in found if "max_pool" in "".join(pair)}
        assert found - pools == expected
        assert {(a == "in", b == "branch4/conv") for a, b in pools} == {
            (True, False),
            (False, True),
        }
        assert module.lanes == 4
        starts = [b for a, b, _ in module.edges if a == ENTRY]
        assert sorted(module.children[b].lane for b in starts) == [0, 1, 2, 3]
    joined = [n for n in graph.nodes if n.kind == "concat"]
    for node in joined:
        assert node.shape[-1] == sum(graph.nodes[i].shape[-1] for i in node.inputs)


@pytest.mark.slow
def test_resnet152_has_fifty_shortcuts_four_of_them_projected():
    graph = build("resnet152")
    root = explore.diagram(graph)
    assert [c.name for c in root.children if c.children] == [f"stage{i}" for i in (1, 2, 3, 4)]
    blocks = [b for b in boxes(root) if "_block" in b.name and b.children]
    depths = [len(find(root, f"stage{i}").children) for i in (1, 2, 3, 4)]
    assert depths == [3, 8, 36, 3] and len(blocks) == 50
    chain = {("in", "conv1"), ("conv1", "conv2"), ("conv2", "conv3"), ("conv3", "add")}
    for block in blocks:
        projected = block.name.endswith("_block1")
        shortcut = {("in", "project"), ("project", "add")} if projected else {("in", "add")}
        assert lines(graph, block) == chain | shortcut | {("add", "out")}
        around = next(lane for a, b, lane in block.edges if a == ENTRY and lane)
        assert around not in {c.lane for c in block.children if c.name.endswith("conv2")}


def test_option_a_shortcuts_take_every_second_pixel_and_pad_channels():
    graph = build("cifar_resnet20")
    for name, low in (("stage2_block1", 8), ("stage3_block1", 16)):
        take = next(n for n in graph.nodes if n.name == f"{name}/subsample")
        widen = next(n for n in graph.nodes if n.name == f"{name}/pad_channels")
        assert take.facts == {"stride": [2, 2]}
        assert widen.facts == {"low": low, "high": low}
    assert not any(n.kind == "add" for n in build("cifar_plain20").nodes)


@pytest.mark.slow
def test_no_line_runs_through_a_card():
    for name in ("cifar_resnet20", "googlenet"):
        for box in boxes(explore.diagram(build(name))):
            taken = {(c.rank, c.lane) for c in box.children}
            assert len(taken) == len(box.children)
            for a, b, lane in box.edges:
                start = -1 if a == ENTRY else box.children[a].rank
                stop = max(c.rank for c in box.children) + 1 if b == EXIT else box.children[b].rank
                assert start < stop
                assert not taken & {(rank, lane) for rank in range(start + 1, stop)}


@pytest.mark.parametrize("name", ["cifar_resnet20", "lenet5", "alexnet_paper"])
def test_fields_of_view_are_those_of_the_analysis(name):
    info = jaxcnn.model_info(name)
    model = jaxcnn.create_model(name)
    graph = explore.build_graph(model, info.image_size, info.channels)
    fields = receptive_field(model, info.image_size, channels=info.channels)
    checked = 0
    for node in graph.nodes:
        if node.name not in fields.names or len(node.shape) != 3:
            continue
        for row, column in ((0, 0), (node.shape[0] - 1, node.shape[1] // 2)):
            box = fields.box(node.name, (row, column))
            top, bottom = node.rows[min(row, len(node.rows) - 1)]
            left, right = node.columns[min(column, len(node.columns) - 1)]
            assert (top, left, bottom + 1, right + 1) == (box.top, box.left, box.bottom, box.right)
            checked += 1
    assert checked >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_cnn", "cifar_resnet20"])
def test_node_values_are_the_networks_own(name):
    info = jaxcnn.model_info(name)
    model = jaxcnn.create_model(name)
    images = jax.random.normal(jax.random.key(1), (1, *info.image_size, info.channels))
    variables = model.init(jax.random.key(0), images, train=False)
    graph = explore.build_graph(model, info.image_size, info.channels)
    values = node_values(graph, variables, range(len(graph.nodes)))(images)
    assert [v.shape for v in values] == [n.shape for n in graph.nodes]
    logits = model.apply(variables, images, train=False)
    np.testing.assert_allclose(values[-1], logits[0], rtol=1e-5, atol=1e-5)
    for tap, expected in jaxcnn.features(model, variables, images).items():
        # Other sums, the same values: float32 rounds at the size of the largest (18 in stage3).
        rounding = 3e-6 * max(1.0, float(np.abs(expected).max()))
        found = [np.abs(v - expected[0]).max() for v in values if v.shape == expected.shape[1:]]
        assert min(found) < rounding, tap


class Own(nn.Module):
    """A network of Flax's own layers, with a shortcut, two branches and an odd function."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3), strides=2)(x)))
        z = nn.Conv(4, (3, 3), name="left")(y) + y
        z = jnp.concatenate([z, nn.avg_pool(y, (3, 3), (1, 1), "SAME")], -1)
        z = nn.gelu(z).mean((1, 2))
        return nn.Dense(3)(z)


def test_any_linen_module_becomes_a_graph():
    graph = explore.build_graph(Own(), (12, 12), 3)
    kinds = [n.kind for n in graph.nodes]
    assert kinds[:4] == ["input", "conv", "batch norm", "relu"]
    assert kinds.count("add") == kinds.count("concat") == kinds.count("function") == 1
    assert kinds[-2:] == ["global average pool", "dense"]
    joined = graph.nodes[kinds.index("concat")]
    assert sorted(graph.nodes[i].kind for i in joined.inputs) == ["add", "average pool"]
    images = jax.random.normal(jax.random.key(0), (1, 12, 12, 3))
    variables = Own().init(jax.random.key(1), images, train=False)
    (out,) = node_values(graph, variables, [len(graph.nodes) - 1])(images)
    np.testing.assert_allclose(out, Own().apply(variables, images, train=False)[0], atol=1e-6)


class Loops(nn.Module):
    """A convolution, then maps that loops pass on beside their counters."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.Conv(4, (3, 3), name="conv")(x)
        x = nn.relu(jax.lax.fori_loop(0, 3, lambda i, v: jnp.tanh(v) - i, x))
        _, x = jax.lax.while_loop(
            lambda at: at[0] < x.mean() + 9, lambda at: (at[0] + 5, jnp.sin(at[1])), (0.0, x)
        )
        return nn.Dense(3, name="head")(x.mean((1, 2)))


def test_a_loop_is_a_function_of_its_maps_not_of_its_counter():
    graph = explore.build_graph(Loops(), (8, 8), 3)
    labels = [node.facts.get("label", node.kind) for node in graph.nodes]
    assert labels[:4] == ["input", "conv", "scan", "relu"]
    assert labels[-2:] == ["global average pool", "dense"]
    assert graph.nodes[2].shape == (8, 8, 4)
    assert len(graph.nodes[2].rows) == 8
    images = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    variables = Loops().init(jax.random.key(1), images, train=False)
    conv, loop, out = node_values(graph, variables, [1, 2, -1])(images)
    expected = jax.lax.fori_loop(0, 3, lambda i, v: jnp.tanh(v) - i, conv)
    np.testing.assert_allclose(loop, expected, atol=1e-6)
    np.testing.assert_allclose(out, Loops().apply(variables, images, train=False)[0], atol=1e-6)
