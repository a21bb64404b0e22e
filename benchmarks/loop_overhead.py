"""What the training loop costs beside the compiled step.

    python benchmarks/loop_overhead.py [--dataset NAME] [--pairs 60] [--steps 10] [--streamed]

Runs `fit` on the recipe `cifar10_resnet20`, whole: order, gather, dispatch, metrics, log,
TensorBoard's events, signals, and a line of the log in every block. After each block of steps `fit`
is held while the same compiled step runs as many times on one batch that stays, from a copy of the
same state; every second pair in the other order. What counts is the ratio within a pair: its
median, and a bootstrap's 95% interval, by the clock and by processor time. A pair with a checkpoint
is left out, and the checkpoint's whole time, until it is on the disk, is given by itself.
`bare_against_bare` is what the same measure says where there is no difference.

--streamed holds no data on the device: the loader reads and decodes beside the steps. Its threads
are waited for after each block, so that a block pays for as many batches as it took.

glibc is told to keep freed memory, for both sides: else the kernel maps a step's memory page by
page anew, and which step pays for it is chance. Writes benchmarks/results/loop_overhead.json, or
loop_overhead_streamed.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import report

from jaxcnn.train import fit, loop, steps
from jaxcnn.train.setup import Setup

KEEP_MEMORY = ":".join(
    f"glibc.malloc.{name}"
    for name in ("mmap_max=0", "trim_threshold=100000000000", "arena_max=1", "hugetlb=1")
)
RECIPE = report.ROOT / "configs" / "cifar10_resnet20.py"
EPOCH = 391  # Steps, which is how often the recipe saves.
WARM_UP = 2  # Blocks of each side that are not counted.


@dataclasses.dataclass(frozen=True)
class Block:
    """Seconds of some steps."""

    clock: float
    processor: float
    # Until the loader had read as far ahead again.
    refill: float = 0.0


class Watch:
    """Seconds since it was made, after the device has come to rest."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def stop(self, *, wait_for_threads: bool = False) -> Block:
        clock = time.perf_counter() - self._clock
        refill = _rest() if wait_for_threads else 0.0
        return Block(clock, time.process_time() - self._processor, refill)


def _rest() -> float:
    """Waits until no thread of this process works, and gives the seconds."""
    began = last = time.perf_counter()
    quiet = 0
    while quiet < 4:
        work = time.process_time()
        time.sleep(0.005)
        if time.process_time() - work > 0.001:
            last, quiet = time.perf_counter(), 0
        else:
            quiet += 1
    return last - began


@jax.jit
def _copy(state: Any) -> Any:
    return jax.tree.map(jnp.copy, state)


class Pairs:
    """Stands in a run's place of the compiled step, and measures blocks of steps in pairs."""

    def __init__(self, step: Callable[..., Any], count: int, streamed: bool) -> None:
        self._step, self._count, self._streamed = step, count, streamed
        self._calls = 0
        self._watch: Watch | None = None
        self._fixed: Any = None
        self.bare: list[Block] = []
        self.whole: list[Block] = []
        self.saves: list[Block] = []
        self._saved: set[int] = set()

    def __call__(self, state: Any, batch: Any) -> Any:
        if self._calls % self._count == 0:
            # The next batch has been asked for already, like the first of the block before.
            jax.block_until_ready((state, batch))
            if self._watch is not None:
                self.whole.append(self._watch.stop(wait_for_threads=self._streamed))
            elif self._streamed:
                _rest()
            self._fixed = batch if self._fixed is None else self._fixed
            # bare whole whole bare bare whole whole bare ...
            for _ in range(self._due()):
                self.bare.append(self._bare(state))
            self._watch = Watch()
        self._calls += 1
        return self._step(state, batch)

    def _due(self) -> int:
        done = len(self.whole)
        return 1 if done == 0 else 2 * (done % 2 == 0)

    def _bare(self, state: Any) -> Block:
        state = jax.block_until_ready(_copy(state))
        watch, metrics = Watch(), None
        for _ in range(self._count):
            state, metrics = self._step(state, self._fixed)
        jax.block_until_ready((state, metrics))
        return watch.stop()

    def save(self, run: Any, score: float | None = None) -> None:
        """A checkpoint, and the time until it is on the disk."""
        watch = Watch()
        run._begin_save(score)
        run.checkpoints.wait()
        self.saves.append(watch.stop())
        self._saved.add(len(self.whole))

    def counted(self) -> Iterator[tuple[Block, Block]]:
        """Pairs of (bare, whole), without the first and without those that hold a checkpoint."""
        for number, pair in enumerate(zip(self.bare, self.whole, strict=False)):
            if number >= WARM_UP and number not in self._saved:
                yield pair


def measure(dataset: str, pairs: int, count: int, streamed: bool) -> Pairs:
    """Runs `fit` for so many pairs of blocks."""
    config = runpy.run_path(str(RECIPE))["config"]()
    never = steps(10**9)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            dataset=dataset,
            eval_split="test[:500]",
            **({"resident_mb": 0.0} if streamed else {}),
        ),
        length=steps((pairs + WARM_UP + 4) * count + 1),
        eval_every=never,
        checkpoint_every=steps(pairs // 3 * count),
        log_every=steps(count),
        figures=False,
    )
    found: list[Pairs] = []

    def compile_step(setup: Setup) -> Pairs:
        found.append(Pairs(compiled(setup), count, streamed))
        return found[0]

    compiled = Setup.compile_step
    with (
        mock.patch.object(Setup, "compile_step", compile_step),
        mock.patch.object(loop._Run, "save", lambda run, score=None: found[0].save(run, score)),
        tempfile.TemporaryDirectory() as folder,
    ):
        result = fit(config, folder)
    assert result.status == "finished"
    return found[0]


def overhead(ratios: list[float]) -> dict[str, Any]:
    """The median in percent over 1, with a bootstrap's 95% interval."""
    percent = 100 * (np.array(ratios) - 1)
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(percent, (10_000, len(percent))), axis=1)
    return {
        "percent_median": round(float(np.median(percent)), 2),
        "percent_interval": [round(float(q), 2) for q in np.quantile(medians, (0.025, 0.975))],
        "percent_quartiles": [round(q, 2) for q in statistics.quantiles(percent.tolist(), n=4)],
    }


def results(pairs: Pairs, count: int, streamed: bool) -> dict[str, Any]:
    counted = list(pairs.counted())
    seconds = statistics.median(bare.clock for bare, _ in counted) / count
    found = {
        "pairs": len(counted),
        "steps_per_block": count,
        "log_lines_per_block": 1,
        "glibc_tunables": KEEP_MEMORY,
        "bare_images_per_second": round(128 / seconds, 1),
        "bare_step_milliseconds": round(1e3 * seconds, 2),
        "clock": overhead([whole.clock / bare.clock for bare, whole in counted]),
        "processor_time": overhead([whole.processor / bare.processor for bare, whole in counted]),
        "bare_against_bare": overhead(
            [b.clock / a.clock for (a, _), (b, _) in zip(counted[::2], counted[1::2], strict=False)]
        ),
    }
    if streamed:
        found["clock_with_refill"] = overhead(
            [(whole.clock + whole.refill) / bare.clock for bare, whole in counted]
        )
    for name in ("clock", "processor"):
        save = statistics.median(getattr(block, name) for block in pairs.saves)
        found[f"checkpoint_{name}_milliseconds"] = round(1e3 * save, 1)
    share = 100 * found["checkpoint_clock_milliseconds"] / 1e3 / (EPOCH * seconds)
    return found | {"checkpoint_percent_of_an_epoch": round(share, 2)}


def keep_memory() -> None:
    """Starts this program again, once, under a malloc that keeps what is freed."""
    if os.environ.get("GLIBC_TUNABLES") != KEEP_MEMORY:
        environ = os.environ | {"GLIBC_TUNABLES": KEEP_MEMORY}
        os.execve(sys.executable, sys.orig_argv, environ)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="cifar10_jpeg")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--streamed", action="store_true")
    options = parser.parse_args()
    keep_memory()
    pairs = measure(options.dataset, options.pairs, options.steps, options.streamed)
    name = "loop_overhead_streamed.json" if options.streamed else "loop_overhead.json"
    report.write(name, results(pairs, options.steps, options.streamed))


if __name__ == "__main__":
    main()
