"""Kill a training run again and again, and see whether it ends with the bytes of one left alone.

python benchmarks/kills.py [--kills 200] [--seed 0] [--json NAME]

Each run is a process of its own, forked before JAX starts its devices, and dies by SIGKILL: at a
random moment, or at an exact point of a save. After some kills a run is left to finish; its
parameters, statistics, optimizer, moving average and key must be those of the straight run, and
so must the examples of every step, repeated ones too. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

import jax
import report

from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, fit, steps
from jaxcnn.train.manifest import ManifestPath
from jaxcnn.train.verify import ExampleRecord, digest, example_differences

# Where a save is when its process dies. A step's folder gets its name by one rename.
POINTS = {
    "before the manifest": "the arrays are written, the manifest is not",
    "in the manifest": "the manifest is cut in the middle",
    "before the rename": "everything is written, under the temporary name",
    "after the rename": "the step has its name, older ones are not yet removed",
}
KILLS_PER_RUN = 5


def config() -> TrainConfig:
    """Dropout, BatchNorm, momentum, schedule, moving average, augmentation: a second or two."""
    return TrainConfig(
        model="small_cnn",
        data=DataConfig(pad_crop=1),
        optimizer=OptimizerConfig(learning_rate=0.05, schedule="cosine", warmup=steps(4)),
        batch_size=16,
        length=steps(24),
        eval_every=steps(12),
        checkpoint_every=steps(2),
        log_every=steps(6),
        ema=0.9,
        figures=False,
    )


@dataclasses.dataclass
class Kill:
    """When a run is to die: after `seconds`, or at `point` of its `save`-th save."""

    seconds: float = 0.0
    point: str | None = None
    save: int = 1


@dataclasses.dataclass
class Span:
    """How long a whole run takes, at the most."""

    seconds: float


def arm(kill: Kill, marker: pathlib.Path) -> None:
    """Lets this process kill itself at the point, after leaving a mark that it got there."""
    plain = ManifestPath.finalize
    saves = 0

    def die() -> None:
        marker.write_text(str(kill.point))
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    async def finalize(self: ManifestPath) -> None:
        nonlocal saves
        is_step = self.get_final().name.isdigit()
        saves += int(is_step)
        if not is_step or saves != kill.save:
            return await plain(self)
        folder = pathlib.Path(str(self.get()))
        if kill.point == "before the manifest":
            die()
        elif kill.point == "in the manifest":
            (folder / "MANIFEST.json").write_text('{"state/')
            die()
        elif kill.point == "before the rename":
            # The parent class renames, and is what ManifestPath.finalize calls last.
            type(self).__mro__[1].finalize = lambda self: die()
        await plain(self)
        die()

    ManifestPath.finalize = finalize


def child(workdir: pathlib.Path, out: pathlib.Path, kill: Kill | None) -> int:
    """Runs in a fork, to its end or to its death; gives how it died, 0 for not at all."""
    marker = out.with_suffix(".killed")
    marker.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if kill is not None and kill.point:
                arm(kill, marker)
            record = ExampleRecord(out.with_suffix(".examples"))
            result = fit(config(), workdir, on_batch=record)
            out.write_text(digest(result.state))
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    timer = None
    if kill is not None and not kill.point:
        timer = threading.Timer(kill.seconds, os.kill, (pid, signal.SIGKILL))
        timer.start()
    _, status = os.waitpid(pid, 0)
    if timer is not None:
        timer.cancel()
    if os.WIFSIGNALED(status):
        if kill is not None and kill.point and not marker.exists():
            raise SystemExit(f"died of {os.WTERMSIG(status)} before the point: {kill}")
        return os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        raise SystemExit(out.with_suffix(".log").read_text()[-3000:])
    return 0


def one_run(
    folder: pathlib.Path, straight: pathlib.Path, rng: random.Random, most: int, span: Span
):
    """Kills one run up to `most` times, lets it finish, and compares; (kinds of kills, faults)."""
    workdir, out = folder / "run", folder / "killed.txt"
    kinds: collections.Counter[str] = collections.Counter()
    finished = False
    for _ in range(most):
        kill = Kill(seconds=rng.uniform(0.0, span.seconds))
        if rng.random() < 0.5:
            kill = Kill(point=rng.choice(list(POINTS)), save=rng.randint(1, 4))
        began = time.monotonic()
        died = child(workdir, out, kill)
        if died == 0:
            # The machine got faster: kills have to come sooner.
            span.seconds = min(span.seconds, time.monotonic() - began)
            finished = True
            break
        assert died == signal.SIGKILL, died
        kinds[kill.point or "at a random moment"] += 1
    if not finished:
        child(workdir, out, None)
    faults = []
    if out.read_text() != straight.read_text():
        faults.append("the state differs")
    faults += example_differences(straight.with_suffix(".examples"), out.with_suffix(".examples"))
    text = out.with_suffix(".log").read_text()
    fell_back = text.count("falling back")
    for path in (out, *folder.glob("killed.*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(workdir)
    return kinds, faults, fell_back


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="NAME", help="write benchmarks/results/NAME")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # The same programs for all: a restart costs a second instead of ten.
        jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        straight = folder / "straight.txt"
        child(folder / "warm", folder / "warm.txt", None)
        started = time.monotonic()
        child(folder / "straight", straight, None)
        span = Span(time.monotonic() - started)
        kinds: collections.Counter[str] = collections.Counter()
        faults, runs, fell_back = [], 0, 0
        while kinds.total() < options.kills:
            most = min(KILLS_PER_RUN, options.kills - kinds.total())
            killed, wrong, fallen = one_run(folder, straight, rng, most, span)
            kinds += killed
            faults += [f"run {runs}: {fault}" for fault in wrong]
            fell_back += fallen
            runs += 1
            print(f"{kinds.total()} kills, {runs} runs, {len(faults)} faults", flush=True)
    result = {
        "kills": kinds.total(),
        "kinds": dict(sorted(kinds.items())),
        "runs_finished": runs,
        "failures": faults,
        "checkpoints_found_damaged": fell_back,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(result, indent=1))
    if options.json:
        report.write(options.json, result)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
