"""Files that appear together at the end, or not at all."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable


class Outputs:
    """Collects what is to be written, and writes it when everything is known.

    Each file is written beside its place under a hidden name and moved there when all are whole,
    so that an error on the way leaves what was there before.
    """

    def __init__(self) -> None:
        self._writers: dict[pathlib.Path, Callable[[pathlib.Path], None]] = {}

    def check(self, path: pathlib.Path) -> None:
        """Raises OSError now if the file could not be written at the end."""
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first.")
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(f"{path}: {path.parent} cannot be written to.")

    def add(self, path: pathlib.Path, write: Callable[[pathlib.Path], None] | str) -> None:
        """Plans a file: its text, or a function that writes it to the path that it is given."""
        text = write
        self._writers[path] = (
            (lambda target: _write_text(target, text)) if isinstance(text, str) else text
        )

    def commit(self) -> list[pathlib.Path]:
        """Writes all files; returns their paths.

        Raises:
          OSError: one could not be written; then none is in its place.
        """
        made: dict[pathlib.Path, pathlib.Path] = {}
        try:
            for path, write in self._writers.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                # The ending stays, since writers choose the format by it.
                made[path] = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
                write(made[path])
            for path, temporary in made.items():
                os.replace(temporary, path)
        finally:
            for temporary in made.values():
                temporary.unlink(missing_ok=True)
        return list(made)


def _write_text(path: pathlib.Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
