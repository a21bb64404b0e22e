"""Folders in Google Cloud Storage: `gs://BUCKET/PATH` where a local path may stand.

Two clients read and write them: Orbax's TensorStore the arrays of checkpoints, and etils' epath
(through gcsfs) all other files. Datasets are copied to this machine first.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil

from etils import epath

SCHEME = "gs://"


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a place that is no local one."""
    return "://" in os.fspath(path)


def folder(path: str | os.PathLike[str]) -> epath.Path:
    """The absolute path of a folder, local or in a bucket.

    Raises:
      ValueError: another scheme than `gs://`, no bucket, or no client for it.
    """
    text = os.fspath(path)
    if not is_url(text):
        return epath.Path(pathlib.Path(text).expanduser().resolve())
    if not text.startswith(SCHEME):
        raise ValueError(
            f"{text}: of buckets only {SCHEME} ones are read and written. Mount this one (s3fs, "
            "blobfuse) and give the mounted path, or copy it."
        )
    if not text.removeprefix(SCHEME).strip("/"):
        raise ValueError(f"{text} names no bucket; write {SCHEME}BUCKET/PATH.")
    if importlib.util.find_spec("gcsfs") is None:
        raise ValueError(f"{text} needs gcsfs: pip install '.[gcs]' in the clone.")
    import fsspec

    # What TensorStore writes, gcsfs does not see coming: a listing that it kept would be wrong.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return epath.Path(text)


def copy_here(source: epath.Path, target: pathlib.Path) -> pathlib.Path:
    """Copies the files of a folder that are not here yet, each whole or not at all.

    Raises:
      OSError: a file that could not be read or written.
    """
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        here = target / file.name
        if here.exists() and here.stat().st_size == file.stat().length:
            continue
        temporary = target / f".{file.name}.{os.getpid()}"
        with file.open("rb") as read, temporary.open("wb") as write:
            shutil.copyfileobj(read, write, 2**22)
        temporary.replace(here)
    return target
