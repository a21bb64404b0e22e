"""Whatever the bytes are: a result, or one of our own errors. Nothing else, and no pickle."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import tempfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcnn import weights
from jaxcnn.data.decode import UndecodableImage, decode
from jaxcnn.train.config import TrainConfig, from_dict, to_dict
from jaxcnn.train.duration import Duration
from jaxcnn.train.manifest import NAME, DamagedCheckpoint, digest, verify
from jaxcnn.train.run import read_config
from jaxcnn.weights.errors import WeightsError

# The same examples on every machine; more of them by a larger number.
fuzz = settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)


@st.composite
def damaged(draw, originals: list[bytes]) -> bytes:
    """A valid file with bytes overwritten, cut off, repeated or put in; or only noise."""
    data = bytearray(draw(st.sampled_from([*originals, b""])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.binary(min_size=1, max_size=8))
        how = draw(st.sampled_from(["write", "cut", "insert", "repeat"]))
        if how == "write":
            data[at : at + len(piece)] = piece
        elif how == "cut":
            del data[at:]
        elif how == "insert":
            data[at:at] = piece
        else:
            data[at:at] = data[: draw(st.integers(0, 64))]
    return bytes(data)


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    files = []
    for kind, mode in [
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("PNG", mode) for mode in ("RGB", "P", "RGBA", "I;16", "1")),
        *((kind, "RGB") for kind in ("GIF", "TIFF", "WEBP", "BMP", "PPM")),
    ]:
        image = Image.fromarray(pixels)
        image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image
        file = io.BytesIO()
        (image if mode == "I;16" else image.convert(mode)).save(file, kind)
        files.append(file.getvalue())
    return files


@fuzz
@example(b"", 3)
@example(b"\xff\xd8\xff", 3)
@example(b"P6 99999999 99999999 255 ", 3)
@example(b"GIF89a\xff\xff\xff\xff\x00\x00\x00,", 3)
@given(damaged(_images()), st.sampled_from([1, 3]))
def test_any_bytes_decode_to_pixels_or_are_undecodable(data, channels):
    with contextlib.suppress(UndecodableImage):
        pixels = decode(data, channels, max_pixels=2**20)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == channels
        assert pixels.size <= channels * 2**20


def _weight_files() -> dict[str, list[bytes]]:
    arrays = {"a.weight": np.ones((3, 4), np.float32), "b": np.zeros((), np.int64)}
    npz = io.BytesIO()
    np.savez_compressed(npz, **arrays)
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array([{}], object))
    return {
        ".safetensors": [safetensors.numpy.save(arrays)],
        ".npz": [npz.getvalue(), pickled.getvalue()],
    }


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_any_bytes_are_weights_or_an_error_that_names_the_file(ending):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"weights{ending}")

        @fuzz
        @given(damaged(_weight_files()[ending]))
        def attempt(data):
            path.write_bytes(data)
            try:
                found = weights.files.read(path)
            except WeightsError as error:
                assert str(path) in str(error)
            else:
                assert all(x.dtype != object for x in found.values())

        attempt()


_FIELDS = st.sampled_from(
    [*to_dict(TrainConfig("mlp")), "learning_rate", "unit", "dataset", "", "x"]
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["3steps", "1e999epochs", "-1steps", "jit", "float32", "lars"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS, inner, max_size=4),
    max_leaves=8,
)


@fuzz
@example({})
@example({"model": "mlp", "batch_size": "64"})
@example({"model": "mlp", "optimizer": {"learning_rate": float("nan")}})
@example({"model": "mlp", "data": {"image_size": [8]}})
@example({"model": 3})
@given(st.dictionaries(_FIELDS, _JSON, max_size=6))
def test_any_values_are_a_config_or_a_value_error(values):
    with contextlib.suppress(ValueError):
        config = from_dict({"model": "mlp"} | values)
        assert from_dict(to_dict(config)) == config


@fuzz
@given(st.data())
def test_one_wrong_field_is_named(data):
    plain = to_dict(TrainConfig("mlp"))
    name = data.draw(st.sampled_from(sorted(plain)))
    value = data.draw(_JSON)
    try:
        config = from_dict(plain | {name: value})
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert from_dict(to_dict(config)) == config


@fuzz
@example("1e400steps")
@example("\u0663epochs")
@given(st.text(max_size=12) | st.from_regex(r"[0-9.e+ ]{0,6}(steps|epochs|examples)?"))
def test_any_text_is_a_duration_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        duration = Duration.parse(text)
        assert duration.to_steps(1000, 10) >= 0


def test_any_manifest_is_read_or_the_checkpoint_is_damaged():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "array").write_bytes(b"1234")
        good = json.dumps(digest(folder)).encode()

        @fuzz
        @example(b"[]")
        @example(b"null")
        @example(b"[" * 100_000)
        @example(b"\xff\xfe")
        @given(damaged([good, b'{"array": 3}', b'["array"]']))
        def attempt(data):
            (folder / NAME).write_bytes(data)
            try:
                verify(folder)
            except DamagedCheckpoint:
                return
            assert json.loads(data) == json.loads(good)

        attempt()


def test_any_record_of_a_run_is_read_or_said_to_be_damaged():
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name, "config.json")

        @fuzz
        @given(damaged([b'{"config": {"model": "mlp"}, "class_names": ["a"]}', b"[1]", b"{}"]))
        def attempt(data):
            path.write_bytes(data)
            try:
                record = read_config(path.parent)
            except ValueError as error:
                assert str(path) in str(error)
            else:
                assert {"config", "class_names"} <= record.keys()

        attempt()
