"""Kill a training run again and again, and see whether it ends with the bytes of one left alone.

python benchmarks/kills.py [--kills 200] [--seed 0] [--jobs 2] [--json NAME]

Each run is a process of its own, forked before JAX starts its devices, and dies by SIGKILL: at a
random moment, or at an exact point of a save. After some kills a run is left to finish; its
parameters, statistics, optimizer, moving average and key must be those of the straight run, and
so must the examples of every step, repeated ones too. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping

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
KILLS_PER_RUN = 8


def config() -> TrainConfig:
    """Dropout, BatchNorm, momentum, schedule, moving average, augmentation, in few seconds."""
    return TrainConfig(
        model="small_cnn",
        data=DataConfig(pad_crop=1),
        optimizer=OptimizerConfig(learning_rate=0.05, schedule="cosine", warmup=steps(4)),
        batch_size=16,
        length=steps(16),
        eval_every=steps(8),
        checkpoint_every=steps(2),
        log_every=steps(4),
        ema=0.9,
        figures=False,
    )


@dataclasses.dataclass
class Kill:
    """When a run is to die.

    Attributes:
      point: of its `save`-th save; None: at a random moment.
      save: number of the save, from 1.
      after_step: whether `seconds` count from the run's first step, or from its start.
      seconds: until the moment.
    """

    point: str | None = None
    save: int = 1
    after_step: bool = False
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        moment = "while it steps" if self.after_step else "in its first seconds"
        return self.point or f"at a random moment {moment}"


@dataclasses.dataclass(frozen=True)
class Span:
    """How long the straight run took: to its first step, and from there to its end."""

    start: float
    steps: float

    def kill(self, rng: random.Random) -> Kill:
        """One of the ways to die: half of them at a point of a save, a quarter in the start."""
        if rng.random() < 0.5:
            return Kill(rng.choice(list(POINTS)), save=rng.randint(1, 2))
        after_step = rng.random() < 0.5
        longest = self.steps if after_step else self.start
        return Kill(after_step=after_step, seconds=rng.uniform(0.0, longest))


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
    marker, begun = out.with_suffix(".killed"), out.with_suffix(".begun")
    for path in (marker, begun):
        path.unlink(missing_ok=True)
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

            def on_batch(step: int, batch: Mapping[str, jax.Array]) -> None:
                if not begun.exists():
                    begun.touch()
                record(step, batch)

            result = fit(config(), workdir, on_batch=on_batch)
            out.write_text(digest(result.state))
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    ended = threading.Event()
    killer = threading.Thread(target=strike, args=(pid, kill, begun, ended))
    if kill is not None and not kill.point:
        killer.start()
    # Its number stays its own until it is waited for below, whatever the killer is late with.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ended.set()
    if killer.ident is not None:
        killer.join()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        if kill is not None and kill.point and not marker.exists():
            raise SystemExit(f"died of {os.WTERMSIG(status)} before the point: {kill}")
        return os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        raise SystemExit(out.with_suffix(".log").read_text()[-3000:])
    return 0


def strike(pid: int, kill: Kill, begun: pathlib.Path, ended: threading.Event) -> None:
    """Kills a run from outside, at its moment."""
    while kill.after_step and not begun.exists() and not ended.wait(0.005):
        pass
    if not ended.wait(kill.seconds):
        os.kill(pid, signal.SIGKILL)


def one_run(
    folder: pathlib.Path, straight: pathlib.Path, rng: random.Random, most: int, span: Span
) -> tuple[collections.Counter[str], list[str], int]:
    """Kills one run up to `most` times, lets it finish, and compares; (kinds of kills, faults)."""
    workdir, out = folder / "run", folder / "killed.txt"
    kinds: collections.Counter[str] = collections.Counter()
    finished = False
    for _ in range(most):
        kill = span.kill(rng)
        died = child(workdir, out, kill)
        if died == 0:
            # It ended before the kill came, and that one doesn't count.
            finished = True
            break
        assert died == signal.SIGKILL, died
        kinds[kill.kind] += 1
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


@dataclasses.dataclass(frozen=True)
class Chain:
    """Some of the kills, one after the other; several chains run at once."""

    folder: pathlib.Path
    straight: pathlib.Path
    seed: int
    kills: int
    span: Span

    def run(self) -> tuple[collections.Counter[str], int, list[str], int]:
        """Kinds of kills, runs that finished, what differed, checkpoints found damaged."""
        self.folder.mkdir()
        rng = random.Random(self.seed)
        kinds: collections.Counter[str] = collections.Counter()
        faults: list[str] = []
        runs = fell_back = 0
        while kinds.total() < self.kills:
            most = min(KILLS_PER_RUN, self.kills - kinds.total())
            killed, wrong, fallen = one_run(self.folder, self.straight, rng, most, self.span)
            kinds += killed
            faults += [f"seed {self.seed}, run {runs}: {fault}" for fault in wrong]
            fell_back += fallen
            runs += 1
            done = f"{kinds.total()} of {self.kills} kills, {runs} runs, {len(faults)} faults"
            print(f"seed {self.seed}: {done}; {dict(sorted(killed.items()))}", flush=True)
        return kinds, runs, faults, fell_back


def kill_all(folder: pathlib.Path, kills: int, seed: int, jobs: int) -> dict:
    """The straight run, then every kill, as a record of what came."""
    began = time.monotonic()
    # The same programs for all: a restart costs a second instead of ten.
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    straight = folder / "straight.txt"
    child(folder / "warm", folder / "warm.txt", None)
    started = time.time()
    child(folder / "straight", straight, None)
    begun = straight.with_suffix(".begun").stat().st_mtime
    span = Span(start=begun - started, steps=time.time() - begun)
    chains = [
        Chain(folder / f"chain{i}", straight, seed + i, (kills + i) // jobs, span)
        for i in range(jobs)
    ]
    # Forked, as the runs themselves: JAX's devices are not started in any of these processes.
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(jobs, context) as pool:
        kinds, runs, faults, fell_back = zip(*pool.map(Chain.run, chains), strict=True)
    total = sum(kinds, collections.Counter())
    return {
        "kills": total.total(),
        "kinds": dict(sorted(total.items())),
        "runs_finished": sum(runs),
        "failures": list(itertools.chain(*faults)),
        "checkpoints_found_damaged": sum(fell_back),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (2)")
    parser.add_argument("--json", metavar="NAME", help="write benchmarks/results/NAME")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = kill_all(pathlib.Path(name), options.kills, options.seed, options.jobs)
    print(json.dumps(result, indent=1))
    if options.json:
        report.write(options.json, result)
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
