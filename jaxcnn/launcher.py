"""Starts one command several times on this machine, as the processes of one run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

# How long the others may take to notice that a process failed, before they are killed.
GRACE_SECONDS = 10.0


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def process_commands(
    count: int, command: Sequence[str], port: int, environ: Mapping[str, str], devices: int | None
) -> list[tuple[list[str], dict[str, str]]]:
    """The command line and environment of each process.

    Args:
      count: processes.
      command: a script and its arguments; `.py` files run under this Python.
      port: of the coordinator, on the loopback interface.
      environ: what all of them get.
      devices: of each process: so many CPU devices, or the process's share of the GPUs, of those
        in `CUDA_VISIBLE_DEVICES` where it is set; None leaves each process what it finds.

    Raises:
      ValueError: no process, nothing to run, or too few GPUs.
    """
    if count < 1:
        raise ValueError(f"N={count}: at least one process is needed.")
    if not command:
        raise ValueError("Nothing to run: launch.py N -- train.py CONFIG ...")
    python = [sys.executable] if command[0].endswith(".py") else []
    gpus = _gpus(environ, count * (devices or 0))
    made = []
    for i in range(count):
        own = dict(environ, PYTHONUNBUFFERED="1")
        if devices is not None:
            own["JAX_NUM_CPU_DEVICES"] = str(devices)
            if gpus:
                own["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[i * devices : (i + 1) * devices])
        arguments = [
            *("--coordinator", f"127.0.0.1:{port}"),
            *("--num-processes", str(count), "--process-id", str(i)),
        ]
        made.append(([*python, *command, *arguments], own))
    return made


def _gpus(environ: Mapping[str, str], needed: int) -> list[str]:
    """The GPUs to share out, by number or UUID; none where they are hidden or not asked for."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(d) for d in range(needed)]
    if visible in ("", "-1") or environ.get("JAX_PLATFORMS") == "cpu":
        return []
    gpus = visible.split(",")
    if len(gpus) < needed:
        raise ValueError(
            f"CUDA_VISIBLE_DEVICES={visible} has {len(gpus)} GPUs, and N x D are {needed}: start "
            "fewer processes, give each fewer devices, or unset it."
        )
    return gpus


def launch(count: int, command: Sequence[str], *, devices: int | None = None) -> int:
    """Runs the processes to their end, with their output on stdout behind `[i]`.

    SIGINT and SIGTERM go on to every process. Once one fails, the others have `GRACE_SECONDS` to
    end by themselves, then they are killed.

    Returns:
      0 if every process gave 0; else the code of the first that failed, 128 + n for signal n.
    """
    commands = process_commands(count, command, free_port(), os.environ, devices)
    started: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    received: list[int] = []
    lock = threading.Lock()

    def forward(number: int, frame: object) -> None:
        received.append(number)
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    previous = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        for i, (arguments, environ) in enumerate(commands):
            started.append(_start(arguments, environ))
            readers.append(
                threading.Thread(target=_copy, args=(started[i], i, sys.stdout, lock), daemon=True)
            )
            readers[i].start()
            if received:  # before all were there to be told
                return 128 + received[0]
        return _wait(started)
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
        for reader in readers:
            reader.join(5)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _start(arguments: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        # A session of its own: Ctrl-C on a terminal would reach it twice otherwise.
        start_new_session=True,
    )


def _copy(process: subprocess.Popen[str], i: int, out: TextIO, lock: threading.Lock) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        with lock:
            out.write(f"[{i}] {line}" if line.endswith("\n") else f"[{i}] {line}\n")
            out.flush()


def _wait(started: list[subprocess.Popen[str]]) -> int:
    first: int | None = None
    deadline = float("inf")
    while True:
        codes = [process.poll() for process in started]
        if first is None:
            first = next((code for code in codes if code), None)
            if first is not None:
                deadline = time.monotonic() + GRACE_SECONDS
        if all(code is not None for code in codes):
            break
        if time.monotonic() > deadline:
            for process in started:
                if process.poll() is None:
                    process.kill()
        time.sleep(0.05)
    if first is None:
        return 0
    return first if first > 0 else 128 - first
