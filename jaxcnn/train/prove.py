"""The proof that a run can be interrupted: one is left alone, one is killed, and both compared."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

import jax

from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.config import TrainConfig, from_dict, to_dict
from jaxcnn.train.duration import steps
from jaxcnn.train.loop import fit
from jaxcnn.train.setup import prepare
from jaxcnn.train.verify import ExampleRecord, example_differences, state_differences

EXAMPLES = "examples.jsonl"


def shortened(config: TrainConfig, length: int, every: int) -> TrainConfig:
    """The config as a run of `length` steps that saves each `every` of them."""
    config = dataclasses.replace(config, checkpoint_every=steps(every), figures=False)
    optimizer = config.optimizer
    # Warm-up and milestones count from the start, and have to fit into the shorter run.
    optimizer = dataclasses.replace(
        optimizer, warmup=steps(min(length // 4, 2)), milestones=(steps(max(1, length - 1)),)
    )
    return dataclasses.replace(config, length=steps(length), optimizer=optimizer)


def run_once(config: TrainConfig, workdir: pathlib.Path) -> None:
    """One run (a process of `prove`'s), which notes the examples of each step.

    Not of steps that are dispatched together: whoever asks for each batch gets another program.
    """
    alone = config.steps_per_dispatch == 1
    fit(config, workdir, on_batch=ExampleRecord(workdir / EXAMPLES) if alone else None)


def prove(
    config: TrainConfig,
    folder: pathlib.Path,
    command: Sequence[str],
    *,
    kill_at: int,
    say: Callable[[str], None],
) -> list[str]:
    """Runs a config straight and interrupted, and compares what came of it.

    Args:
      config: of both runs.
      folder: for their two folders, which are replaced.
      command: starts a process that calls `run_once` with the config's JSON file and the folder
        that are appended to it.
      kill_at: the run is killed once the checkpoint of this step, or of a later one, is there.
      say: takes a line for the person.

    Returns:
      what differs, a line each; nothing where the resume is exact.

    Raises:
      RuntimeError: a run failed, or was over before it could be killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    straight, interrupted = folder / "straight", folder / "interrupted"
    for path in (straight, interrupted):
        shutil.rmtree(path, ignore_errors=True)

    command = [*command, str(folder / "config.json")]
    say(f"straight: {config.length} in one go")
    with _started([*command, str(straight)], folder / "straight.log") as run:
        _finish(run, folder / "straight.log")
    say(f"interrupted: to be killed after the checkpoint of step {kill_at}")
    log = folder / "interrupted.log"
    with _started([*command, str(interrupted)], log) as killed:
        while _newest(interrupted) < kill_at:
            if killed.poll() is not None:
                raise RuntimeError(
                    f"The run ended before the checkpoint of step {kill_at} was seen; take more "
                    f"steps. {_tail(log)}"
                )
            time.sleep(0.002)
    if killed.returncode != -signal.SIGKILL:
        raise RuntimeError("The run was over before it could be killed; take more steps.")
    say(f"killed by SIGKILL, newest checkpoint {_newest(interrupted)}; the same command again")
    with _started([*command, str(interrupted)], log) as run:
        _finish(run, log)
    wrong = []
    if config.steps_per_dispatch == 1:
        wrong = example_differences(straight / EXAMPLES, interrupted / EXAMPLES)
    return wrong + final_state_differences(config, straight, interrupted)


def final_state_differences(
    config: TrainConfig, straight: pathlib.Path, interrupted: pathlib.Path
) -> list[str]:
    """Compares the newest checkpoints of two runs: every array, by its bytes."""
    # One device is enough to compare, whatever the runs had.
    one = dataclasses.replace(config, mapping="jit", num_devices=1, batchnorm="global")
    setup = prepare(one, jax.devices()[:1])
    template = setup.mapping.abstract_state(jax.eval_shape(setup.initial_state))
    states = []
    for path in (straight, interrupted):
        checkpoints = Checkpoints(path / "checkpoints", read_only=True)
        states.append(checkpoints.restore(checkpoints.steps()[-1], template).state)
        checkpoints.close()
    return state_differences(*states)


def read_config(path: pathlib.Path) -> TrainConfig:
    """The config that `prove` wrote for its runs."""
    return from_dict(json.loads(path.read_text()))


def _newest(workdir: pathlib.Path) -> int:
    names = [p.name for p in (workdir / "checkpoints").glob("*")]
    return max((int(name) for name in names if name.isdigit()), default=-1)


@contextlib.contextmanager
def _started(command: Sequence[str], log: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _finish(process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    if process.wait():
        raise RuntimeError(f"A run ended with code {process.returncode}. {_tail(log)}")


def _tail(log: pathlib.Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"Last line of {log}: {lines[-1] if lines else '(empty)'}"
