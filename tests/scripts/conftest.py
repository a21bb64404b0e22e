"""Scripts run in this process, as a person calls them."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a script's main in this process: its exit code, and what it printed."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import command_line

    def run(script, *arguments):
        spec = importlib.util.spec_from_file_location(f"script_{script}", SCRIPTS / f"{script}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.run(module.main)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run
