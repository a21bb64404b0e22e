"""Files that are damaged, lie or are dangerous: one error each, and no memory taken for them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from jaxcnn.models.cifar_resnet import CifarResNet, Spec
from jaxcnn.weights import WeightsError, from_torch, load, names, read, save, write

MODEL = CifarResNet(spec=Spec(8, "B"))


def _safetensors(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(shape, start, end, dtype="F32"):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}


def _npz(*members: tuple[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def _npy(shape, data: bytes = b"", descr: str = "<f4") -> bytes:
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle ran')",))


BAD = {
    "empty.safetensors": b"",
    "header-longer-than-the-file.safetensors": _safetensors({}, length=2**40),
    "no-json.safetensors": _safetensors(b"{nonsense"),
    "more-than-it-holds.safetensors": _safetensors(_tensor([10**9], 0, 4 * 10**9), b"1234"),
    "offsets-of-another-size.safetensors": _safetensors(_tensor([4], 0, 4), b"1234"),
    "offsets-backwards.safetensors": _safetensors(_tensor([1], 4, 0), b"1234"),
    "overflow.safetensors": _safetensors(_tensor([2**40, 2**40], 0, 4), b"1234"),
    "bytes-left-over.safetensors": _safetensors(_tensor([1], 0, 4), b"12345678"),
    "unknown-type.safetensors": _safetensors(_tensor([1], 0, 4, "F31"), b"1234"),
    "pickle.safetensors": pickle.dumps(_Bomb()),
    "empty.npz": b"",
    "pickle.npz": pickle.dumps(_Bomb()),
    "pickle-inside.npz": _npz(("a.npy", pickle.dumps(_Bomb()))),
    "object-array.npz": _npz(("a.npy", _npy((1,), pickle.dumps(_Bomb()), "|O"))),
    "more-than-it-holds.npz": _npz(("a.npy", _npy((10**9,), b"1234"))),
    "negative.npz": _npz(("a.npy", _npy((-1,), b"1234"))),
    "bomb.npz": _npz(
        ("a.npy", _npy((10**8,)) + bytes(4 * 10**8)), compression=zipfile.ZIP_DEFLATED
    ),
    "text.npz": _npz(("readme.txt", b"hello")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_error_that_names_it(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(BAD[name])
    tracemalloc.start()
    with pytest.raises(WeightsError, match=name):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26
    with pytest.raises(WeightsError, match=name):
        load(path, MODEL)


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_damaged(ending, share, tmp_path):
    path = tmp_path / f"net.{ending}"
    write(path, {key: recipe.tensor(key, shape) for key, shape in names(MODEL).items()})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match="is damaged"):
        load(path, MODEL)


def test_a_flipped_byte_of_an_npz_is_noticed(tmp_path):
    path = tmp_path / "net.npz"
    write(path, {key: recipe.tensor(key, shape) for key, shape in names(MODEL).items()})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        load(path, MODEL)


def test_weights_that_are_no_floats_are_named(tmp_path):
    path = tmp_path / "net.npz"
    arrays = {key: recipe.tensor(key, shape) for key, shape in names(MODEL).items()}
    write(path, arrays | {"linear.bias": np.zeros(10, np.int32)})
    with pytest.raises(WeightsError, match=r"type of linear\.bias: int32, weights are floats"):
        load(path, MODEL)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.npz"
    write(path, {"a": np.zeros(3)})
    with pytest.raises(WeightsError, match="a holds Python objects"):
        write(path, {"a": np.array([{}], dtype=object)})
    np.testing.assert_array_equal(read(path)["a"], np.zeros(3))
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"]


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_an_error_of_the_device_is_not_the_files(ending, tmp_path, monkeypatch):
    path = tmp_path / f"net.{ending}"
    write(path, {key: recipe.tensor(key, shape) for key, shape in names(MODEL).items()})

    def no_backend(*args):
        raise RuntimeError("Unable to initialize backend")

    monkeypatch.setattr(jnp, "asarray", no_backend)
    with pytest.raises(RuntimeError, match=r"^Unable to initialize backend$"):
        load(path, MODEL)


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_bfloat16_comes_back_bit_for_bit_from_either_format(ending, tmp_path):
    path = tmp_path / f"net.{ending}"
    model = MODEL.clone(param_dtype=jnp.bfloat16)
    arrays = {key: recipe.tensor(key, shape) for key, shape in names(model).items()}
    variables = from_torch(arrays, model)
    save(path, variables, model)
    for found, wanted in zip(
        jax.tree.leaves(load(path, model)), jax.tree.leaves(variables), strict=True
    ):
        assert found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes()
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} >= {jnp.dtype(jnp.bfloat16)}


def test_an_npz_holds_the_arrays_alone_under_every_numpy(tmp_path, monkeypatch):
    def savez_of_numpy_2_0(file, **arrays):
        with zipfile.ZipFile(file, "w") as archive:
            for name, value in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asanyarray(value))

    monkeypatch.setattr(np, "savez", savez_of_numpy_2_0)
    write(tmp_path / "net.npz", {"a": np.arange(3.0)})
    assert read(tmp_path / "net.npz").keys() == {"a"}
