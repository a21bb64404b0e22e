"""What goes into a page, what does not fit, and what cannot be shown."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn import explore
from jaxcnn.explore.blocks import Blocks
from jaxcnn.explore.budget import plan
from jaxcnn.explore.shift import offsets
from jaxcnn.preprocess import Preprocess


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    model: Any
    variables: Any
    preprocess: Preprocess
    class_names: tuple[str, ...]
    source: str = "made for a test"
    step: int | None = None


def network(name: str, classes: int = 10) -> Network:
    info = jaxcnn.model_info(name)
    model = jaxcnn.create_model(name, num_classes=classes)
    shape = (1, *info.image_size, info.channels)
    variables = jax.jit(model.init, static_argnames="train")(
        jax.random.key(0), np.zeros(shape, np.float32), train=False
    )
    gray = (0.5,) * info.channels
    record = Preprocess(info.image_size, info.channels, gray, gray, resize="squash")
    return Network(name, model, variables, record, tuple(map(str, range(classes))))


def photos(made: Network, count: int) -> list[explore.Photo]:
    shape = (*made.preprocess.image_size, made.preprocess.channels)
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, shape, np.uint8) for _ in range(count)]
    return [explore.Photo(f"photo {i}", p, p) for i, p in enumerate(pixels)]


@pytest.fixture(scope="module")
def small() -> Network:
    return network("small_cnn")


def test_blocks_come_back_as_they_were():
    import base64
    import zlib

    blocks = Blocks()
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for kind in ("f32", "f16"):
        record = blocks.add(values, kind)
        planes = zlib.decompress(base64.b64decode(blocks.texts[record["block"]]))
        size = {"f32": 4, "f16": 2}[kind]
        back = np.frombuffer(planes, np.uint8).reshape(size, -1).T.tobytes()
        dtype = np.float32 if size == 4 else np.float16
        np.testing.assert_array_equal(
            np.frombuffer(back, dtype).reshape(record["shape"]), values.astype(dtype)
        )
    with pytest.raises(FloatingPointError):
        blocks.add(np.array([1e6]), "f16")


@pytest.mark.slow
def test_a_small_network_is_embedded_whole(small, tmp_path):
    content = explore.build_content(small, photos(small, 2))
    assert content.record["network"]["whole"]
    assert all(node["units"] is None for node in content.record["nodes"])
    size = explore.write_page(content, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert size == (tmp_path / "page.html").stat().st_size
    assert not re.search(r"(src|href)=\"(?!#)", text)
    assert set(re.findall(r"https?://[\w./]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text and "connect-src" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_large_network_is_recorded_within_the_limit():
    graph = explore.build_graph(jaxcnn.create_model("resnet18"), (224, 224), 3)
    root = explore.diagram(graph)
    for photo_count, limit in ((3, 25), (2, 12)):
        found = plan(graph, root, explore.Limits(max_mb=limit, photos=photo_count), photo_count)
        assert not found.whole and found.channels == 16
        assert all(found.opened[i] for i in found.recorded)
    with pytest.raises(explore.PageError, match=r"12 photos .* limit of 5 MB; give .*--max-mb"):
        plan(graph, root, explore.Limits(max_mb=5, photos=12), 12)
    chosen = plan(graph, root, explore.Limits(layers=("stage4*",)), 1)
    names = {graph.nodes[i].name for i, o in enumerate(chosen.opened) if o}
    assert "stage4_block2/conv2" in names and "stage1_block1/conv1" not in names
    with pytest.raises(explore.PageError, match=r"No layer is named 'stag9\*' \(--layers\)"):
        plan(graph, root, explore.Limits(layers=("stag9*",)), 1)


def test_networks_that_cannot_be_shown_say_why(small):
    mlp = network("mlp")
    with pytest.raises(explore.PageError, match=r"mlp has no convolution.*--mlp"):
        explore.build_content(mlp, photos(mlp, 1))
    with pytest.raises(explore.PageError, match="No photo to show"):
        explore.build_content(small, [])
    with pytest.raises(explore.PageError, match="7 classes and small_cnn 10"):
        explore.build_content(small, photos(small, 1), second=network("mlp", 7))
    other = network("lenet5")
    with pytest.raises(explore.PageError, match="same images"):
        explore.build_content(small, photos(small, 1), second=other)


@pytest.mark.slow
def test_more_than_the_limit_names_limit_and_option(small, tmp_path):
    for limits in ({"photos": 0}, {"channels": 0}, {"max_mb": 0.1}):
        with pytest.raises(explore.PageError, match=r"--"):
            explore.Limits(**limits)
    content = explore.build_content(small, photos(small, 2))
    with pytest.raises(
        explore.PageError, match=r"would take 1\.\d MB, .*limit of 1 MB; .*--photos"
    ):
        explore.write_page(content, tmp_path / "page.html", explore.Limits(max_mb=1.0))
    assert not list(tmp_path.iterdir())
    (tmp_path / "page.html").write_text("the page before")
    with pytest.raises(explore.PageError):
        explore.write_page(content, tmp_path / "page.html", explore.Limits(max_mb=1.0))
    assert (tmp_path / "page.html").read_text() == "the page before"


def test_shifts_are_as_many_as_a_minute_allows():
    assert offsets((8, 8), 10**6, 10).pixels == tuple(range(-4, 5))
    heavy = offsets((224, 224), 2 * 10**9, 10).pixels
    assert heavy[0] == -heavy[-1] and len(heavy) ** 2 * 10 * 2e9 < 2e12


def test_photos_that_cannot_be_read_are_named(tmp_path):
    record = Preprocess((8, 8), 1, (0.5,), (0.5,), resize="squash")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken\.jpg: .*no image in a known format"):
        explore.read_photo(broken, record)
    with pytest.raises(ValueError, match="has no images in it"):
        (tmp_path / "empty").mkdir()
        explore.photo_files([tmp_path / "empty"])
    for name in ("a.pgm", "._broken.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    assert explore.photo_files([tmp_path]) == [tmp_path / "a.pgm", broken]


def test_a_datasets_photos_are_called_by_label_and_number(small):
    source = jaxcnn.data.open_source("digits", "test")
    found = explore.source_photos(source, small.preprocess, 12)
    numbers = [int(photo.name.rpartition(" ")[2]) for photo in found]
    labels = [str(source[number].label) for number in numbers]
    assert labels == [*"0123456789", "0", "1"]
    assert [p.name for p in found] == [
        f"{label}, example {number}" for label, number in zip(labels, numbers, strict=True)
    ]


class Traced(nn.Module):
    """A network that notes when its Python code runs: that is when it is traced."""

    runs: ClassVar[list[int]] = []

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        self.runs.append(len(x))
        x = nn.relu(nn.Conv(2, (3, 3), name="conv")(x))
        return nn.Dense(3, name="head")(x.mean((1, 2)))


def test_more_photos_take_no_more_compiling_and_each_is_told_of():
    record = Preprocess((8, 8), 1, (0.5,), (0.5,))
    variables = Traced().init(jax.random.key(0), np.zeros((1, 8, 8, 1)), train=False)
    made = Network("traced", Traced(), variables, record, ("a", "b", "c"))
    runs, told = [], []
    for count in (1, 3):
        Traced.runs.clear()
        told.clear()
        explore.build_content(made, photos(made, count), progress=told.append)
        runs.append(len(Traced.runs))
    assert runs[0] == runs[1]
    assert told[:3] == ["photo 1 of 3", "photo 2 of 3", "photo 3 of 3"]
    assert told[3:] == [f"shifts of {name}" for name in told[:3]]
