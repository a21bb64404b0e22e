"""Which TFDS datasets lie prepared on this machine, and in which format."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import os
import pathlib
import re
from typing import TypeAlias

from etils import epath

from jaxcnn import buckets
from jaxcnn.data.errors import DataError, unknown_name

Folder: TypeAlias = pathlib.Path | epath.Path

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.\-]+))?(:(?P<version>[\d.*]+))?")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """One prepared dataset on disk.

    Attributes:
      name: of the dataset.
      config: of the dataset, or empty.
      version: three numbers.
      path: the folder that holds its files.
      readable: whether its records lie as array_record.
      file_format: what its metadata states.
    """

    name: str
    config: str
    version: str
    path: Folder
    readable: bool
    file_format: str

    @property
    def full_name(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.name}{config}:{self.version}"

    @property
    def version_key(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))


def cache_dir() -> pathlib.Path:
    """Where this library prepares datasets: `JAXCNN_CACHE` or `~/.cache/jaxcnn`, then `tfds`."""
    root = os.environ.get("JAXCNN_CACHE") or "~/.cache/jaxcnn"
    return pathlib.Path(root).expanduser().resolve() / "tfds"


def search_dirs(data_dir: str | os.PathLike[str] | None = None) -> list[Folder]:
    """The folders that are searched, first match wins.

    `data_dir`, then `TFDS_DATA_DIR`, then `~/tensorflow_datasets`, then the cache.
    """
    given = (data_dir, os.environ.get("TFDS_DATA_DIR"), "~/tensorflow_datasets", cache_dir())
    paths = list(dict.fromkeys(_root(folder) for folder in given if folder))
    if data_dir is not None and not paths[0].is_dir():
        raise DataError(f"data_dir={os.fspath(data_dir)!r} is no folder; give one that exists.")
    return [path for path in paths if path.is_dir()]


def _root(path: str | os.PathLike[str]) -> Folder:
    if not buckets.is_url(path):
        return pathlib.Path(path).expanduser().resolve()
    try:
        return buckets.folder(path)
    except ValueError as error:
        raise DataError(str(error)) from None


def list_prepared(data_dir: str | os.PathLike[str] | None = None) -> list[Prepared]:
    """Every prepared dataset in the searched folders, sorted by name and version."""
    found: list[Prepared] = []
    for root in search_dirs(data_dir):
        for folder in _folders(root):
            found += _versions_of(folder)
    return sorted(found, key=lambda item: (item.name, item.config, item.version_key))


def find_prepared(name: str, data_dir: str | os.PathLike[str] | None = None) -> Prepared:
    """The prepared dataset that `name` (`name/config:version`) means.

    The newest version is taken where none is asked for, and the only config. The first searched
    folder that holds a match as array_record wins.

    Raises:
      DataError: nothing of that name; a config or version that is not there; several configs; or
        records in a format without random access.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(
            f"{name!r} is no dataset's name. Write `name`, `name:1.0.0`, `name/config`, "
            "`folder:PATH` or `digits`."
        )
    base, config, version = match["name"], match["config"], match["version"]
    unreadable: list[Prepared] = []
    candidates: list[Prepared] = []
    for root in search_dirs(data_dir):
        here = _versions_of(root / base)
        candidates += here
        here = _narrow(name, here, config, version)
        readable = [item for item in here if item.readable]
        if readable:
            return _here(max(readable, key=lambda item: item.version_key))
        unreadable += here
    if unreadable:
        raise _convert_error(name, unreadable[0])
    if candidates:
        known = [item.full_name for item in candidates]
        raise unknown_name("config or version of a dataset:", name, known)
    command = f"python scripts/prepare_data.py {name}"
    names = {item.name for item in list_prepared(data_dir)} | {"digits"}
    where = ", ".join(str(root) for root in search_dirs(data_dir))
    raise unknown_name(
        "dataset", name, names, f"Searched: {where}. If TFDS has it, `{command}` prepares it."
    )


def _here(item: Prepared) -> Prepared:
    """The dataset on this machine: one in a bucket is copied to the cache, once.

    Records are read at random, one request for each if they lay in the bucket.
    """
    if isinstance(item.path, pathlib.Path):
        return item
    place = hashlib.sha256(os.fspath(item.path).encode()).hexdigest()[:16]
    target = cache_dir().parent / "buckets" / place / item.version
    return dataclasses.replace(item, path=buckets.copy_here(item.path, target))


def _narrow(
    name: str, items: list[Prepared], config: str | None, version: str | None
) -> list[Prepared]:
    if config is not None:
        items = [item for item in items if item.config == config]
    elif any(not item.config for item in items):
        items = [item for item in items if not item.config]
    if version is not None:
        items = [item for item in items if fnmatch.fnmatchcase(item.version, version)]
    configs = sorted({item.config for item in items})
    if len(configs) > 1:
        raise DataError(
            f"{name!r} has several configs: {', '.join(configs)}. Name one, as "
            f"{items[0].name}/{configs[0]}."
        )
    return items


def _convert_error(name: str, item: Prepared) -> DataError:
    return DataError(
        f"{name!r} lies in {item.path} as {item.file_format}, which has no random access. "
        f"Convert it to array_record with `python scripts/prepare_data.py --convert {item.path}`."
    )


def _folders(root: Folder) -> list[Folder]:
    """Folders that may hold a dataset: not hidden, not TFDS's downloads."""
    try:
        entries = list(root.iterdir())
    except OSError:
        return []
    hidden = (".", "_")
    return sorted(
        path
        for path in entries
        if not path.name.startswith(hidden) and path.name != "downloads" and path.is_dir()
    )


def _versions_of(folder: Folder) -> list[Prepared]:
    """The versions under `name/` and `name/config/`."""
    found = []
    for child in _folders(folder):
        if _VERSION.fullmatch(child.name):
            found.append(read_metadata(child, folder.name, ""))
            continue
        for grandchild in _folders(child):
            if _VERSION.fullmatch(grandchild.name):
                found.append(read_metadata(grandchild, folder.name, child.name))
    return [item for item in found if item is not None]


def read_metadata(path: Folder, name: str, config: str) -> Prepared | None:
    """What the folder of one version holds; None if it is no prepared dataset."""
    try:
        info = json.loads((path / "dataset_info.json").read_text())
        files = [file.name for file in path.iterdir()]
    except (OSError, ValueError):
        return None
    if "features.json" not in files:
        return None
    # Datasets from before TFDS recorded a format are TFRecord.
    file_format = info.get("fileFormat", "tfrecord")
    readable = any(".array_record" in file for file in files)
    return Prepared(name, config, path.name, path, readable, file_format)
