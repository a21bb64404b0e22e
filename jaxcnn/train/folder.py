"""The folder of a run as a thing that one run owns."""

from __future__ import annotations

import fcntl
import logging
import os
import pathlib
import platform
import time
from typing import Self

log = logging.getLogger("jaxcnn")
NAME = ".lock"


class FolderInUse(OSError):
    """Another run is writing to the folder."""


class FolderGone(OSError):
    """The folder was deleted, moved or replaced under the run."""


class FolderLock:
    """Ownership of a run's folder, by the kernel: it ends with the process, however that ends.

    Raises:
      FolderInUse: naming the process that has it.
      OSError: where the folder cannot be made or written to.
    """

    def __init__(self, workdir: pathlib.Path) -> None:
        self._path = workdir / NAME
        workdir.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            raise FolderInUse(
                f"{workdir} is in use by {owner}. Wait for that run, stop it, or give another "
                "--workdir."
            ) from None
        except OSError as error:  # some network file systems have no locks
            log.warning("%s cannot be locked (%s): see to it that one run uses it.", workdir, error)
        self._file.truncate(0)
        since = time.strftime("%F %T")
        self._file.write(f"process {os.getpid()} on {platform.node()} since {since}\n")
        self._file.flush()

    def check(self) -> None:
        """Raises FolderGone if the path no longer leads to the folder that was locked."""
        mine = os.fstat(self._file.fileno())
        try:
            now = os.stat(self._path)
        except OSError:
            now = None
        if now is None or (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev):
            raise FolderGone(
                f"{self._path.parent} was deleted or replaced while the run was writing to it."
            )

    def close(self) -> None:
        """Lets go; the file stays, since removing it could take another run's lock away."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
