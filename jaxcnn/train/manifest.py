"""A SHA-256 of every file of a checkpoint, written before the checkpoint gets its name.

Orbax loads flipped bytes of array data without a word; the manifest is what notices them. It
detects damage, not tampering.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pathlib

import orbax.checkpoint as ocp

NAME = "MANIFEST.json"
# Orbax writes these after, or beside, what the manifest covers.
_UNCOVERED = {NAME, "_CHECKPOINT_METADATA", "commit_success.txt"}


class DamagedCheckpoint(ValueError):
    """A checkpoint's files are not the ones that were saved."""


def digest(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder, by its relative path.

    Raises:
      DamagedCheckpoint: for a symbolic link, which could point out of the checkpoint.
    """
    sums = {}
    for root, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            path = pathlib.Path(root, name)
            if path.is_symlink():
                raise DamagedCheckpoint(f"{path} is a symbolic link; checkpoints hold none.")
            if name in files and name not in _UNCOVERED:
                with path.open("rb") as file:
                    sums[str(path.relative_to(folder))] = hashlib.file_digest(
                        file, "sha256"
                    ).hexdigest()
    return sums


def verify(folder: pathlib.Path) -> None:
    """Compares a checkpoint with its manifest.

    Raises:
      DamagedCheckpoint: naming the files that are missing, changed or added.
    """
    try:
        expected = json.loads((folder / NAME).read_text())
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


class ManifestPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """Orbax's temporary folder, which gets its manifest just before it is renamed."""

    async def finalize(self) -> None:
        # Only a step's folder: the items inside are finalised on their own before it.
        if self.get_final().name.isdigit():
            folder = pathlib.Path(str(self.get()))
            sums = await asyncio.to_thread(digest, folder)
            (folder / NAME).write_text(json.dumps(sums, indent=1))
        await super().finalize()
