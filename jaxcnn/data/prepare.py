"""Brings a dataset into the form that the sources read: TFDS files in array_record."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

from jaxcnn.data.errors import DataError, unknown_name
from jaxcnn.data.prepared import Prepared, cache_dir, list_prepared, read_metadata
from jaxcnn.data.tfrecord import read_records

_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def prepare(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """Downloads a TFDS dataset and prepares it as array_record.

    `digits` needs no download and no TensorFlow, and goes to the cache. Others go to `data_dir`,
    by default TFDS's own folder (`TFDS_DATA_DIR` or `~/tensorflow_datasets`).

    Args:
      name: of the dataset, with `/config` and `:version` where wanted.
      data_dir: where it is written.
      manual_dir: where files lie that must be downloaded by hand (imagenet2012).

    Returns:
      The folder of the prepared version.

    Raises:
      DataError: an unknown name, or TensorFlow is not installed.
    """
    import tensorflow_datasets as tfds

    base = name.partition(":")[0].partition("/")[0]
    if base == "digits":
        from jaxcnn.data.digits import prepare_digits

        return prepare_digits()
    known = tfds.list_builders(with_community_datasets=False)
    if base not in known:
        raise unknown_name("TFDS dataset", base, known)
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"TFDS needs TensorFlow to prepare {name!r} (reading it later needs none): "
            "pip install '.[prepare]' in the clone."
        )
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=config)
    return pathlib.Path(builder.data_dir)


def convert(
    dataset: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None
) -> pathlib.Path:
    """Copies a dataset that is prepared as TFRecord to array_record, without TensorFlow.

    The original stays as it is. Each record's checksum and each file's count are checked; the
    copy appears under its final name only when it is complete.

    Args:
      dataset: the folder of one version, or the name of a prepared dataset.
      data_dir: where the copy is written; default: the cache, where `open_source` finds it.

    Returns:
      The folder of the copy.

    Raises:
      DataError: no such dataset, one that is array_record already, a damaged file, or a copy
        that exists.
    """
    source = _find(dataset)
    if source.readable:
        raise DataError(f"{source.path} holds array_record already; nothing is to be converted.")
    if source.file_format != "tfrecord":
        raise DataError(
            f"{source.path} is in format {source.file_format!r}; only tfrecord is converted. "
            f"Prepare it anew: `python scripts/prepare_data.py {source.full_name}`."
        )
    root = pathlib.Path(data_dir).expanduser() if data_dir is not None else cache_dir()
    final = root / source.name / source.config / source.version
    if final.exists():
        raise DataError(f"{final} exists; remove it to convert again.")
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=".convert-", dir=root))
    try:
        _copy_metadata(source.path, scratch)
        _copy_records(source.path, scratch)
        scratch.chmod(0o755)
        os.rename(scratch, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def format_prepared(data_dir: str | os.PathLike[str] | None = None) -> str:
    """A table of the datasets that are prepared on this machine."""
    rows = [("dataset", "format", "splits", "folder")]
    for item in list_prepared(data_dir):
        info = json.loads((item.path / "dataset_info.json").read_text())
        counts = [
            f"{split['name']} {sum(int(n) for n in split.get('shardLengths', [])):,}"
            for split in info.get("splits", [])
        ]
        form = "array_record" if item.readable else f"{item.file_format} (convert it)"
        rows.append((item.full_name, form, ", ".join(counts), os.fspath(item.path)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row[:3], widths, strict=True)), row[3]])
        for row in rows
    )


def _find(dataset: str | os.PathLike[str]) -> Prepared:
    path = pathlib.Path(dataset).expanduser()
    if (path / "dataset_info.json").is_file():
        info = json.loads((path / "dataset_info.json").read_text())
        item = read_metadata(path.resolve(), info["name"], info.get("configName", ""))
        if item is None:
            raise DataError(
                f"{path} lacks features.json; TFDS before 4.0 prepared it. Prepare it anew."
            )
        return item
    known = list_prepared()
    for item in reversed(known):
        if os.fspath(dataset) in (item.name, f"{item.name}:{item.version}", item.full_name):
            return item
    names = [item.full_name for item in known]
    raise unknown_name("prepared dataset", os.fspath(dataset), names, "Or give its folder.")


def _copy_metadata(source: pathlib.Path, target: pathlib.Path) -> None:
    """All files but the records, with the format and the file names changed."""
    for path in source.iterdir():
        if path.is_file() and ".tfrecord" not in path.name:
            shutil.copyfile(path, target / path.name)
    file = target / "dataset_info.json"
    info = json.loads(file.read_text())
    info["fileFormat"] = "array_record"
    info.pop("alternativeFileFormats", None)
    for split in info.get("splits", []):
        template = split.get("filepathTemplate", _TEMPLATE)
        split["filepathTemplate"] = template.replace("tfrecord", "array_record")
    file.write_text(json.dumps(info, indent=2, sort_keys=True))


def _copy_records(source: pathlib.Path, target: pathlib.Path) -> None:
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    splits: Any = tfds.builder_from_directory(os.fspath(source)).info.splits
    for split in splits.values():
        for filename, expected in zip(split.filenames, split.shard_lengths, strict=True):
            path = source / os.path.basename(filename)
            if not path.is_file():
                raise DataError(f"{path} is missing; copy the whole dataset or prepare it again.")
            name = path.name.replace(".tfrecord", ".array_record")
            # One record in a group is what makes single records cheap to read.
            writer = array_record_module.ArrayRecordWriter(os.fspath(target / name), "group_size:1")
            count = 0
            for record in read_records(path):
                writer.write(record)
                count += 1
            writer.close()
            if count != expected:
                raise DataError(f"{path} holds {count} records and should hold {expected}.")
