"""Runs scripts/train.py in a fork for each case, with one fault in it, and reports what came.

PYTHONPATH=scripts python program.py FOLDER CASE...
prints {case: {"exit", "signal", "seconds", "output", "steps"}}

Imports are paid for once; each case is a process of its own with its own devices.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import sys
import threading
import time

import command_line
import jax
import train

import jaxcnn.train
from jaxcnn.evaluation.exact import Tally
from jaxcnn.train import fit
from jaxcnn.train.folder import FolderLock
from jaxcnn.train.setup import Setup

RECIPE = """
from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, steps
def config():
    return TrainConfig(
        model="mlp", data=DataConfig(pad_crop=1), batch_size=64,
        optimizer=OptimizerConfig(learning_rate=0.05, schedule="constant"),
        length=steps(30), eval_every=steps(15), checkpoint_every=steps(5), log_every=steps(5),
        figures=False,
    )
"""


def at_step(number, act):
    """Calls `act` before a step."""
    change_fit(lambda step, _: act() if step == number else None)


def change_fit(on_batch):
    # The script takes it from there once its arguments are read.
    jaxcnn.train.fit = functools.partial(fit, on_batch=on_batch)


def send(*signals):
    for number in signals:
        os.kill(os.getpid(), number)
        time.sleep(0.05)


def in_evaluation(*signals):
    plain, done = Tally.add, []

    def add(self, outputs):
        if not done:
            done.append(True)
            send(*signals)
        plain(self, outputs)

    Tally.add = add


def in_compilation(*signals, endless=False):
    """Signals from outside of Python while the main thread is in C code for a second or more."""
    plain = Setup.compile_step

    def compile_step(self):
        step = plain(self)

        def later():
            time.sleep(0.3)
            send(*signals)

        def first(state, batch):
            threading.Thread(target=later, daemon=True).start()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9 if endless else 3 * 10**6)
            self.__dict__["first"] = True
            return step(state, batch)

        return lambda *a: (step if "first" in self.__dict__ else first)(*a)

    Setup.compile_step = compile_step


def limit_files(size):
    """From now on no file of this process can grow beyond `size`: a full disk without root."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def obey_modes():
    """Gives up root's right to write where the file modes forbid it."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    libc.capget(header, words)
    for word in (0, 1):
        words[word] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(header, words):
        raise OSError("capset failed")


def read_only(workdir):
    workdir.mkdir()
    obey_modes()
    os.chmod(workdir, 0o555)


def delete(workdir):
    # By another name first: the run may be writing to it.
    workdir.rename(workdir.with_suffix(".gone"))
    shutil.rmtree(workdir.with_suffix(".gone"), ignore_errors=True)


def read_only_later(workdir):
    obey_modes()
    at_step(12, lambda: os.chmod(workdir / "checkpoints", 0o555))


def background(error):
    """A save that fails behind the run's back, in Orbax's own thread."""
    from jaxcnn.train.manifest import ManifestPath

    async def finalize(self):
        raise error

    at_step(12, lambda: setattr(ManifestPath, "finalize", finalize))


TERM, INT = signal.SIGTERM, signal.SIGINT
CASES = {
    "plain": lambda w: None,
    "term in training": lambda w: at_step(7, lambda: send(TERM)),
    "int in training": lambda w: at_step(7, lambda: send(INT)),
    "term twice in training": lambda w: at_step(7, lambda: send(TERM, TERM)),
    "int twice in training": lambda w: at_step(7, lambda: send(INT, INT)),
    "term in evaluation": lambda w: in_evaluation(TERM),
    "int in evaluation": lambda w: in_evaluation(INT),
    "int twice in evaluation": lambda w: in_evaluation(INT, INT),
    "term twice in evaluation": lambda w: in_evaluation(TERM, TERM),
    "term in compilation": lambda w: in_compilation(TERM),
    "int in compilation": lambda w: in_compilation(INT),
    "int twice in compilation": lambda w: in_compilation(INT, INT, endless=True),
    "term twice in compilation": lambda w: in_compilation(TERM, TERM, endless=True),
    "disk full": lambda w: at_step(12, lambda: limit_files(2000)),
    "disk full, continue": lambda w: at_step(12, lambda: limit_files(2000)),
    "disk full for a while, continue": lambda w: change_fit(
        lambda step, _: (
            limit_files(2000 if step < 22 else resource.RLIM_INFINITY) if step >= 12 else None
        )
    ),
    "background failure": lambda w: background(OSError(28, "No space left on device")),
    "read-only from the start": read_only,
    "read-only later": read_only_later,
    "folder deleted": lambda w: at_step(12, lambda: delete(w)),
    "folder deleted, continue": lambda w: at_step(12, lambda: delete(w)),
    "killed with the lock": lambda w: at_step(12, lambda: send(signal.SIGKILL)),
    "second run": lambda w: globals().__setitem__("held", FolderLock(w)),
    "hang": lambda w: at_step(12, lambda: time.sleep(600)),
}


def run(case: str, folder: pathlib.Path) -> dict:
    """One case; `A > B` runs B in the folder that A left."""
    case, _, then = case.partition(" > ")
    workdir = folder / case.replace(" ", "-").replace(",", "")
    case = then or case
    arguments = [str(folder / "recipe.py"), "--workdir", str(workdir)]
    if case.endswith("continue"):
        arguments += ["--on-save-error", "continue"]
    if case == "hang":
        arguments += ["--watchdog-seconds", "6"]
    started = time.monotonic()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(writing)
            sys.argv[1:] = arguments
            CASES[case](workdir)
            command_line.run(train.main)
        except SystemExit as error:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(99)
        os._exit(98)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as pipe:
        output = pipe.read()
    _, status = os.waitpid(pid, 0)
    steps = [int(p.name) for p in workdir.glob("checkpoints/*") if p.name.isdigit()]
    return {
        "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "seconds": time.monotonic() - started,
        "output": output,
        "steps": sorted(steps),
    }


def main() -> None:
    folder, cases = pathlib.Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.py").write_text(RECIPE)
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    print("RESULTS", json.dumps({case: run(case, folder) for case in cases}))


if __name__ == "__main__":
    main()
