"""A run whose folder is a bucket's: its small files are kept here and copied there.

Objects in a bucket cannot be appended to and have no locks. So logs and the config are written to a
temporary folder, and what changed is copied before every checkpoint and at the end; the checkpoints
themselves go straight to the bucket. In place of a lock each run leaves its mark there: the newest
run has the folder, and an older one notices at its next save and stops.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import tempfile
import time
import uuid
from collections.abc import Iterator

from jaxcnn import buckets
from jaxcnn.train.folder import FolderGone, FolderInUse, FolderLock

_MARK = ".owner"
# What a run that is taken up again goes on with.
_FETCHED = ("config.json", "metrics.jsonl")


class RunFolder:
    """Where the files of a run go.

    Attributes:
      name: as it was given.
      local: the folder of its small files on this machine.
      checkpoints: the folder of its checkpoints.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self.local = pathlib.Path(path).expanduser().resolve()
        self.checkpoints = str(self.local / "checkpoints")

    def claim(self) -> contextlib.AbstractContextManager[Owner]:
        """Takes the folder for this run; the main process of a run calls it.

        Raises:
          FolderInUse: another run has it.
          OSError: it cannot be written to.
        """
        return FolderLock(self.local)

    def send(self) -> None:
        """Copies what changed to where it belongs; nothing where that is here."""


class BucketFolder(RunFolder):
    """A run's folder in a bucket."""

    def __init__(self, url: str, local: pathlib.Path) -> None:
        self.name, self.local = url, local
        self._remote = buckets.folder(url)
        self.checkpoints = str(self._remote / "checkpoints")
        self._sent: dict[str, tuple[int, int]] = {}

    def claim(self) -> contextlib.AbstractContextManager[Owner]:
        with _as_os_error(self.name):
            for name in _FETCHED:
                if (self._remote / name).exists():
                    (self.local / name).write_bytes((self._remote / name).read_bytes())
            return contextlib.nullcontext(BucketMark(self.name))

    def send(self) -> None:
        with _as_os_error(self.name):
            for path in sorted(self.local.rglob("*")):
                state = path.stat().st_mtime_ns, path.stat().st_size
                name = path.relative_to(self.local).as_posix()
                if path.is_file() and self._sent.get(name) != state:
                    (self._remote / name).write_bytes(path.read_bytes())
                    self._sent[name] = state


class BucketMark:
    """This run's mark in its folder in a bucket."""

    def __init__(self, url: str) -> None:
        self._url, self._path = url, buckets.folder(url) / _MARK
        since = time.strftime("%F %T")
        self._text = f"process {os.getpid()} on {platform.node()} since {since} {uuid.uuid4()}\n"
        self._path.write_text(self._text)

    def check(self) -> None:
        """Raises FolderGone or FolderInUse if the mark is another's, or none is there."""
        with _as_os_error(self._url):
            text = self._path.read_text() if self._path.exists() else None
        if text is None:
            raise FolderGone(f"{self._url} was deleted while the run was writing to it.")
        if text != self._text:
            owner = text.rpartition(" ")[0]
            raise FolderInUse(
                f"{self._url} was taken over by {owner}. Give each run a --workdir of its own."
            )


Owner = FolderLock | BucketMark


@contextlib.contextmanager
def _as_os_error(url: str) -> Iterator[None]:
    """What the clients of a bucket raise, as the error that a full disk would give."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{url}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def run_folder(path: str | os.PathLike[str]) -> Iterator[RunFolder]:
    """The folder of a run, local or `gs://BUCKET/PATH`.

    Raises:
      ValueError: a place that a run cannot write to, with the remedy.
    """
    if not buckets.is_url(path):
        yield RunFolder(path)
        return
    buckets.folder(path)  # Says what is wrong with it.
    with tempfile.TemporaryDirectory(prefix="jaxcnn-run-") as name:
        yield BucketFolder(os.fspath(path), pathlib.Path(name))
