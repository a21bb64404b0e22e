"""scripts/convert_weights.py: every format and naming, and what it refuses. PyTorch is a stub."""

from __future__ import annotations

import hashlib
import importlib.util
import pathlib
import subprocess
import sys
import types

import ml_dtypes
import numpy as np
import pytest
import recipe

from jaxcnn.models import create_model
from jaxcnn.weights import names, read, write

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts" / "convert_weights.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("convert_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(path.parent))


class Tensor:
    """As much of torch.Tensor as the script needs."""

    is_sparse = is_quantized = False

    def __init__(self, array):
        self.array, self.dtype = array, f"torch.{array.dtype}"

    def detach(self):
        return self

    def float(self):
        return Tensor(self.array.astype(np.float32))

    def numpy(self):
        assert self.array.dtype != ml_dtypes.bfloat16  # torch has no numpy type for it
        return self.array


@pytest.fixture
def torch(monkeypatch):
    """A module `torch` whose `load` gives `torch.content`, or raises it."""
    module = types.ModuleType("torch")

    def load(path, *, map_location, weights_only):
        assert weights_only is True and map_location == "cpu"
        if isinstance(module.content, Exception):
            raise module.content
        return module.content

    module.load, module.is_tensor = load, lambda value: isinstance(value, Tensor)
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.fixture(scope="module")
def state_dict():
    shapes = names(create_model("resnet18", num_classes=7))
    values = {name: recipe.tensor(name, shape) for name, shape in shapes.items()}
    values["bn1.num_batches_tracked"] = np.array(12345, np.int64)
    return values


def _assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and found[name].tobytes() == value.tobytes(), name


def test_a_checkpoint_becomes_safetensors_with_every_bit(
    script, torch, state_dict, tmp_path, capsys
):
    source, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    source.write_bytes(b"a pickle that only the stub pretends to read")
    tensors = {name: Tensor(value) for name, value in state_dict.items()}
    torch.content = {"epoch": 3, "state_dict": tensors}
    fields = ["--set", "num_classes=7"]
    assert script.main([str(source), str(target), "--model", "resnet18", *fields]) == 0
    _assert_same(read(target), state_dict)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert (
        f"122 arrays, {target.stat().st_size:,} bytes, SHA-256 {digest}" in capsys.readouterr().out
    )


def test_prefixes_keys_and_bfloat16(script, torch, tmp_path):
    source, target = tmp_path / "net.ckpt", tmp_path / "net.npz"
    source.write_bytes(b"x")
    value = np.array([1.5, -2.25], ml_dtypes.bfloat16)
    torch.content = {"ema": {"module.w": Tensor(value)}, "optimizer": {}}
    script.main([str(source), str(target), "--key", "ema", "--strip", "module."])
    _assert_same(read(target), {"w": np.array([1.5, -2.25], np.float32)})
    with pytest.raises(ValueError, match=r"--strip model\.: 'module\.w' does not start with it"):
        script.main([str(source), str(tmp_path / "b.npz"), "--key", "ema", "--strip", "model."])
    with pytest.raises(ValueError, match="no weights under --key em; it holds ema, optimizer"):
        script.main([str(source), str(tmp_path / "b.npz"), "--key", "em"])
    with pytest.raises(ValueError, match="no state dict; name the entry by --key: ema, optimizer"):
        script.main([str(source), str(tmp_path / "b.npz")])


def test_namings_and_formats_there_and_back(script, tmp_path):
    model = create_model("lenet5", num_classes=3)
    wanted = {name: recipe.tensor(name, shape) for name, shape in names(model).items()}
    first, second, third = tmp_path / "a.npz", tmp_path / "b.safetensors", tmp_path / "c.npz"
    write(first, wanted)
    fields = ["--model", "lenet5", "--set", "num_classes=3"]
    script.main([str(first), str(second), *fields, "--to", "jaxcnn"])
    assert read(second)["params/conv1/kernel"].shape == (5, 5, 1, 6)
    script.main([str(second), str(third), *fields])
    _assert_same(read(third), wanted)


def test_weights_for_another_image_size_are_converted_with_it(script, torch, tmp_path):
    source, target, back = tmp_path / "net.th", tmp_path / "a.safetensors", tmp_path / "b.npz"
    source.write_bytes(b"x")
    model = create_model("mlp")
    wanted = {n: recipe.tensor(n, s) for n, s in names(model, image_size=16).items()}
    torch.content = {name: Tensor(value) for name, value in wanted.items()}
    fields = ["--model", "mlp", "--image-size", "16"]
    with pytest.raises(ValueError, match=r"another size than 8 x 8\? image_size="):
        script.main([str(source), str(target), *fields[:2]])
    script.main([str(source), str(target), *fields, "--to", "jaxcnn"])
    ours = read(target)["params/dense1/kernel"]
    np.testing.assert_array_equal(ours, wanted["dense1.weight"].T)  # gray: one channel to flatten
    script.main([str(target), str(back), *fields])
    _assert_same(read(back), wanted)


def test_what_does_not_fit_is_refused_and_nothing_written(script, torch, state_dict, tmp_path):
    source, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    source.write_bytes(b"x")
    torch.content = {name: Tensor(value) for name, value in state_dict.items()}
    with pytest.raises(ValueError, match=r"shape of fc.weight: \(7, 512\)"):
        script.main([str(source), str(target), "--model", "resnet18"])
    torch.content = RuntimeError("Weights only load failed.\nmany\nlines")
    with pytest.raises(ValueError, match=r"more than tensors.*\(Weights only load failed\.\)$"):
        script.main([str(source), str(target)])
    assert not target.exists()
    torch.content = type("UnpicklingError", (Exception,), {})("how to open it all the same")
    with pytest.raises(ValueError, match=r"model\.state_dict\(\) instead\.$"):
        script.main([str(source), str(target)])
    with pytest.raises(ValueError, match="there is no folder"):
        torch.content = {"w": Tensor(np.zeros(1))}
        script.main([str(source), str(tmp_path / "none" / "net.npz")])
    with pytest.raises(ValueError, match="--to needs --model"):
        script.main([str(source), str(target), "--to", "timm"])
    target.write_bytes(b"mine")
    with pytest.raises(ValueError, match="exists; --force writes over it"):
        script.main([str(source), str(target)])
    assert target.read_bytes() == b"mine"


def test_without_pytorch_one_line_says_so(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    (tmp_path / "net.pth").write_bytes(b"x")
    command = [sys.executable, ROOT / "scripts" / "convert_weights.py", tmp_path / "net.pth"]
    done = subprocess.run(
        [*command, tmp_path / "net.npz"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "install torch to convert it" in done.stderr and done.stderr.count("\n") == 1


def test_no_other_file_touches_a_pickle():
    words = ("pickle.load", "torch.load", "allow_pickle=True", "import pickle", "joblib.load")
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("jaxcnn", "scripts", "configs")
        for path in (ROOT / folder).rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    assert found == {"scripts/convert_weights.py"}
