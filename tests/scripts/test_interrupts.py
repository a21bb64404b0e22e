"""Ctrl-C ends a script with one line and code 130, whatever becomes of the KeyboardInterrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import types

import pytest

PROGRAM = """
import gc, os, pathlib, signal, sys, time
import command_line

def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # Python answers here

def main(arguments):
    print("began")
{}
    time.sleep(30)
    return 0

command_line.run(main)
"""
# What the program does, and what it prints besides.
WAYS = {
    "an open file's finally runs": (
        """
        try:
            press()
        finally:
            print("cleaned")
        """,
        "cleaned\n",
    ),
    "compiled code makes another error of it": (
        """
        try:
            press()
        except KeyboardInterrupt:
            raise ValueError("Invalid affine transformation matrix") from None
        """,
        "",
    ),
    "it is swallowed and main returns": (
        """
        try:
            press()
        except KeyboardInterrupt:
            return 0
        """,
        "",
    ),
    "Python drops it in a callback of the garbage collector": (
        """
        gc.callbacks.append(lambda phase, info: gc.callbacks.clear() or press())
        gc.collect()
        """,
        "",
    ),
    "it is swallowed and comes again": (
        """
        try:
            press()
        except KeyboardInterrupt:
            time.sleep(1.1)
        try:
            press()
        finally:
            print("too late")
        """,
        "",
    ),
}


@pytest.fixture(autouse=True)
def heard():
    # A job of the background inherits that SIGINT is ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def end_of(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        env={"PYTHONPATH": "scripts"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_is_one_line_and_130_where(way):
    body, printed = WAYS[way]
    program = PROGRAM.format(textwrap.indent(textwrap.dedent(body), "    "))
    assert end_of(program) == (130, f"began\n{printed}", "interrupted\n")


def test_ctrl_c_while_a_script_imports_is_one_line_and_130():
    program = """
    import os, signal, time, command_line
    with command_line.importing():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    """
    assert end_of(textwrap.dedent(program)) == (130, "", "interrupted\n")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_gallery_draws_no_run_that_was_stopped(call, monkeypatch, tmp_path, name, code):
    import jaxcnn.train

    stopped = types.SimpleNamespace(status="interrupted", signal=name)
    monkeypatch.setattr(jaxcnn.train, "fit", lambda config, folder: stopped)
    out = tmp_path / "gallery"
    assert call("gallery", "--runs", tmp_path / "runs", "--output", out)[0] == code
    assert not out.exists()
