"""How long a training step of each network takes to trace and compile.

    python benchmarks/compile_time.py [--models 'resnet*'] [--rounds 1]

The step is `train_step` with SGD, momentum and decay, at the network's own image size and batch 8,
for this machine's CPU; nothing is run. Beside it stands a ResNet-50 as Flax's own layers give it,
compiled with the same step. `cpu_seconds` is the time of this process on all cores: it tells more
than `seconds` where other programs run. Writes benchmarks/results/compile_time.json after each
network; what it holds of other networks, by the same versions, stays.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import json
import os
import resource
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import report
from flax import linen as nn

from jaxcnn.benchmark import environment
from jaxcnn.models import create_model, list_models, model_info
from jaxcnn.train.config import OptimizerConfig
from jaxcnn.train.optimizer import make_optimizer
from jaxcnn.train.state import create_state
from jaxcnn.train.step import Task, train_step

BATCH = 8
FILE = "compile_time.json"
PLAIN = "resnet50 of Flax's layers"


class PlainResNet50(nn.Module):
    """ResNet-50 v1.5 of `nn.Conv` and `nn.BatchNorm`."""

    num_classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(nn.Conv, use_bias=False)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.relu(norm()(conv(64, (7, 7), (2, 2), padding=3)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, depth in enumerate((3, 4, 6, 3)):
            for block in range(depth):
                width, stride = 64 * 2**stage, 2 if stage and not block else 1
                y = nn.relu(norm()(conv(width, (1, 1))(x)))
                y = nn.relu(norm()(conv(width, (3, 3), (stride, stride), padding=1)(y)))
                y = norm()(conv(4 * width, (1, 1))(y))
                if not block:
                    x = norm()(conv(4 * width, (1, 1), (stride, stride))(x))
                x = nn.relu(x + y)
        return nn.Dense(self.num_classes)(jnp.mean(x, (1, 2)))


def measure(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, float]:
    """Seconds of tracing and compiling one training step."""
    config = OptimizerConfig(learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    optimizer = make_optimizer(config, lambda step: 0.1)
    state = jax.eval_shape(functools.partial(create_state, model, optimizer, image_shape, seed=0))
    numbers = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    batch = {
        "image": jax.ShapeDtypeStruct((BATCH, *image_shape), jnp.uint8),
        **dict.fromkeys(("label", "index", "epoch"), numbers),
    }
    channels = image_shape[-1]
    task = Task(model, optimizer, mean=(0.5,) * channels, std=(0.5,) * channels)
    step = jax.jit(functools.partial(train_step, task), donate_argnums=0)
    started, cpu = time.perf_counter(), _cpu()
    lowered = step.lower(state, batch)
    traced, traced_cpu = time.perf_counter(), _cpu()
    lowered.compile()
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": _cpu() - cpu,
        "trace_seconds": traced - started,
        "trace_cpu_seconds": traced_cpu - cpu,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["*"], help="shell patterns")
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    names = [n for p in options.models for n in list_models() if fnmatch.fnmatch(n, p)]
    measure(create_model("mlp"), (8, 8, 1))  # what starts once

    results = _known()
    for name in [PLAIN, *dict.fromkeys(names)]:
        rounds = [_round(name) for _ in range(options.rounds)]
        results[name] = {
            key: round(statistics.median(r[key] for r in rounds), 1) for key in rounds[0]
        } | {"rounds": options.rounds, "load_average": round(os.getloadavg()[0], 1)}
        order = [PLAIN, *list_models()]
        networks = {key: results[key] for key in sorted(results, key=order.index)}
        report.write(FILE, {"batch_size": BATCH, "networks": networks})


def _known() -> dict[str, Any]:
    """What an earlier call measured, if by the same versions on the same device."""
    path = report.ROOT / "benchmarks" / "results" / FILE
    record = json.loads(path.read_text()) if path.exists() else {}
    now = environment()
    same = all(record.get(key) == now[key] for key in ("device", "versions"))
    return record["networks"] if same else {}


def _round(name: str) -> dict[str, float]:
    jax.clear_caches()
    if name == PLAIN:
        return measure(PlainResNet50(), (224, 224, 3))
    info = model_info(name)
    return measure(create_model(name), (*info.image_size, info.channels))


if __name__ == "__main__":
    main()
