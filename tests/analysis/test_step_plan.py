"""A plan says what a step needs and what fits, and trains nothing."""

from __future__ import annotations

import json

import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn.analysis import CompiledMemory, memory_plan, plan
from jaxcnn.analysis.host_memory import available_bytes
from jaxcnn.analysis.step_plan import _sgd


def test_a_name_is_planned_by_formula_without_compiling():
    found = plan("cifar_resnet20", batch_size=128, compile=False, limit=2_000_000_000)
    model = jaxcnn.create_model("cifar_resnet20")
    assert found.memory == memory_plan(model, image_size=32, batch_size=128)
    assert found.compiled is None and not found.measured
    assert found.largest_batch == int((2e9 - found.memory.fixed) / found.memory.per_example)
    for text in ("2.00 GB (as given)", f"{found.largest_batch:,} (by formula)"):
        assert text in str(found)
    assert json.loads(json.dumps(found.to_dict()))["memory"]["total"] == found.memory.total


def test_the_compiler_s_account_decides_what_fits():
    model = jaxcnn.create_model("small_cnn")
    found = plan(model, image_size=8, channels=1, batch_size=64, limit=200_000_000)
    assert found.measured and found.compiled is not None
    assert 0.5 < found.compiled.total / found.memory.total < 2
    assert 64 < found.largest_batch < 200_000_000 / (found.memory.per_example / 2)
    assert "XLA: total" in str(found) and "(compiled)" in str(found)


@pytest.mark.parametrize(
    ("room", "bend", "best", "asked"),
    [
        (5_000_000, 2, 443, [64, 493, 443]),  # 493 by what an example of the first step needs
        (650_000, 2, 64, [64]),
        (300_000, -20, 30, [64, 34, 30]),
        (300_000, 2, 29, [64, 29]),
        (-1, 2, 0, [64]),
    ],
)
def test_a_batch_that_is_called_compiled_was_compiled_and_fits(
    monkeypatch, room, bend, best, asked
):
    """Of a step that needs somewhat more, or less, than in proportion to its images."""
    compiled = []
    fixed = plan("mlp", batch_size=64, limit=1, compile=False).memory.fixed

    def memory(step, batch):
        compiled.append(batch)
        return CompiledMemory(0, 0, fixed + 10_000 * batch + bend * batch**2, 0, 0)

    monkeypatch.setattr("jaxcnn.analysis.step_plan.compiled_memory", memory)
    limit = fixed + room
    found = plan("mlp", batch_size=64, limit=limit, step=len, arguments=lambda batch: (batch,))
    assert compiled == asked
    assert (found.largest_batch, found.measured) == (best, best > 0)


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_available_is_the_least_of_the_machine_s_and_the_group_s(tmp_path, version):
    assert available_bytes(tmp_path) is None  # macOS has none of the files
    proc, groups = tmp_path / "proc", tmp_path / "sys/fs/cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemFree:  100 kB\nMemAvailable:  9000 kB\n")
    assert available_bytes(tmp_path) == 9_216_000
    if version == 2:
        group, names, cached = groups / "job/step", ("memory.max", "memory.current"), ""
        (proc / "self/cgroup").write_text("0::/job/step\n")
    else:
        group, cached = groups / "memory/job/step", "total_"
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        (proc / "self/cgroup").write_text("9:cpu,cpuacct:/\n4:memory:/job/step\n0::/\n")
    group.mkdir(parents=True)
    for folder, limit in ((group, "max"), (group.parent, "5000000")):
        (folder / names[0]).write_text(limit + "\n")
        (folder / names[1]).write_text("2000000\n")
        (folder / "memory.stat").write_text(f"anon 7\n{cached}inactive_file 500000\n")
    assert available_bytes(tmp_path) == 3_500_000


def test_a_machine_that_does_not_say_what_it_has_is_asked_for(monkeypatch):
    monkeypatch.setattr("jaxcnn.analysis.step_plan.available_bytes", lambda: None)
    monkeypatch.setattr("jaxcnn.analysis.step_plan.device_bytes", lambda: None)
    with pytest.raises(ValueError, match=r"give limit=BYTES, or --plan-memory GB"):
        plan("mlp", batch_size=8, compile=False)


class TwoHeads(nn.Module):
    """A head, and in training another whose logits are sown."""

    @nn.compact
    def __call__(self, x, *, train):
        x = x.reshape(x.shape[0], -1)
        if train or self.is_initializing():
            self.sow("aux_logits", "sown", nn.Dense(10, name="aux")(x))
        return nn.Dense(10, name="head")(x)


def test_auxiliary_heads_are_part_of_the_compiled_step():
    """Without the sown logits in the loss, the head's gradient would be constant zeros."""
    found = plan(TwoHeads(), image_size=8, channels=1, batch_size=16, limit=10**9, most=16)
    one_head = 4 * (64 * 10 + 10)
    assert found.memory.params == 2 * one_head
    assert found.compiled.arguments >= 4 * one_head  # weights and momentum of both
    step, arguments = _sgd(TwoHeads(), 8, 1, 1)
    text = step.lower(*arguments(16)).as_text()
    products = text.count("stablehlo.dot_general")
    assert products == 4  # forward and kernel gradient of each head


def test_a_largest_batch_divides_among_devices_and_micro_batches():
    found = plan(
        "small_cnn", batch_size=48, devices=4, compile=False, limit=50_000_000, multiple=12
    )
    assert found.largest_batch % 12 == 0 and found.largest_batch > 48
    capped = plan("small_cnn", batch_size=48, compile=False, limit=50_000_000, most=100)
    assert capped.largest_batch == 100
    tiny = plan("small_cnn", batch_size=48, compile=False, limit=1000)
    assert tiny.largest_batch == 0


def test_a_module_without_an_image_size_is_asked_for_one():
    with pytest.raises(ValueError, match="SmallCNN does not say its image size"):
        plan(jaxcnn.create_model("small_cnn"), batch_size=8)
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        plan("resnet81", batch_size=8)
