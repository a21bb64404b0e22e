"""A SHA-256 of every file of a checkpoint, written before the checkpoint gets its name.

Orbax loads flipped bytes of array data without a word; the manifest is what notices them. It
detects damage, not tampering.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterator

import orbax.checkpoint as ocp
from etils import epath

NAME = "MANIFEST.json"
# Beside the manifest, what is written after it: Orbax's mark that the whole folder is complete.
# Nothing reads what stands in it.
_UNCOVERED = {NAME, "commit_success.txt"}
_BLOCK = 2**20


class DamagedCheckpoint(ValueError):
    """A checkpoint's files are not the ones that were saved."""


def digest(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The SHA-256 of each file below a folder, by its relative path.

    Raises:
      DamagedCheckpoint: for a symbolic link, which could point out of the checkpoint.
    """
    sums = {}
    for name, path in _files(epath.Path(folder)):
        if name not in _UNCOVERED:
            total = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    total.update(block)
            sums[name] = total.hexdigest()
    return sums


def _files(folder: epath.Path, prefix: str = "") -> Iterator[tuple[str, epath.Path]]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if os.path.islink(path):
            raise DamagedCheckpoint(f"{path} is a symbolic link; checkpoints hold none.")
        name = f"{prefix}{path.name}"
        if path.is_dir():
            yield from _files(path, f"{name}/")
        else:
            yield name, path


def verify(folder: str | os.PathLike[str]) -> None:
    """Compares a checkpoint with its manifest.

    Raises:
      DamagedCheckpoint: naming the files that are missing, changed or added.
    """
    path = epath.Path(folder) / NAME
    try:
        expected = json.loads(path.read_text())
        if not isinstance(expected, dict):
            raise ValueError(f"a {type(expected).__name__} in place of names and sums")
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"{folder} has no readable {NAME}: {error}") from None
    found = digest(folder)
    wrong = [
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    ]
    if wrong:
        raise DamagedCheckpoint(f"{folder}: missing, changed or added: {', '.join(sorted(wrong))}")


class BucketManifestPath(ocp.path.atomicity.CommitFileTemporaryPath):
    """The same where no folder can be renamed: the manifest comes just before the mark."""

    async def finalize(self) -> None:
        if self.get_final().name.isdigit():
            await asyncio.to_thread(write_manifest, self)
        await super().finalize()


class ManifestPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """Orbax's temporary folder, which gets its manifest just before it is renamed."""

    async def finalize(self) -> None:
        # Only a step's folder: the items inside are finalised on their own before it.
        if self.get_final().name.isdigit():
            await asyncio.to_thread(write_manifest, self)
        await super().finalize()


def write_manifest(temporary: ocp.path.atomicity.TemporaryPath) -> None:
    """Writes the manifest of a step whose items are complete."""
    # The step's metadata would get the time of the commit afterwards, and be covered by nothing.
    store, temporary._checkpoint_metadata_store = temporary._checkpoint_metadata_store, None
    folder = temporary.get()
    if store is not None:
        store.wait_until_finished()
        path = ocp.path.atomicity.checkpoint_metadata.step_metadata_file_path(folder)
        store.update(file_path=path, commit_timestamp_nsecs=time.time_ns())
        store.wait_until_finished()
    (folder / NAME).write_text(json.dumps(digest(folder), indent=1))
