"""Datasets are listed, and converted from TFRecord with every record checked."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
import struct
import subprocess
import sys

import pytest

from jaxcnn.data import DataError, open_source
from jaxcnn.data.prepare import convert, format_prepared, prepare
from jaxcnn.data.tfrecord import crc32c, masked_crc32c, read_records

ROOT = pathlib.Path(__file__).resolve().parents[2]


def write_records(path, records):
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + struct.pack("<I", masked_crc32c(length)))
            file.write(record + struct.pack("<I", masked_crc32c(record)))


@pytest.fixture
def tfrecord_dataset(home, shapes):
    """The folder of `shapes` 1.0.0 with its records as TFRecord."""
    import tensorflow_datasets as tfds

    path = home / "data" / "shapes" / "1.0.0"
    shutil.copytree(shapes / "shapes" / "1.0.0", path)
    builder = tfds.builder_from_directory(path)
    for split in ("train", "test"):
        raw = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        write_records(path / f"shapes-{split}.tfrecord-00000-of-00001", list(raw))
        (path / f"shapes-{split}.array_record-00000-of-00001").unlink()
    info = json.loads((path / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
    (path / "dataset_info.json").write_text(json.dumps(info))
    return path


def test_the_checksum_is_crc32c():
    # RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert crc32c(b"a") == 0xC1D04330


def test_the_checksum_of_long_data_equals_the_sum_byte_by_byte():
    data = bytes(i * 7 % 256 for i in range(5000))

    def slow(data):
        state = 0xFFFFFFFF
        for octet in data:
            state ^= octet
            for _ in range(8):
                state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
        return state ^ 0xFFFFFFFF

    for length in (3, 4, 1023, 1024, 1025, 5000):
        assert crc32c(data[:length]) == slow(data[:length])


def test_converting_keeps_every_record_and_the_original(home, shapes, tfrecord_dataset):
    before = sorted((p.name, p.read_bytes()) for p in tfrecord_dataset.iterdir())
    path = convert(tfrecord_dataset)
    assert path == home / "cache" / "tfds" / "shapes" / "1.0.0"
    assert sorted((p.name, p.read_bytes()) for p in tfrecord_dataset.iterdir()) == before
    for split in ("train", "test"):
        # Found through the cache, though data_dir holds the dataset as TFRecord.
        new = open_source("shapes", split, data_dir=home / "data")
        old = open_source("shapes", split, data_dir=shapes)
        assert [new[i] for i in range(len(new))] == [old[i] for i in range(len(old))]
        assert new.class_names == old.class_names
    with pytest.raises(DataError, match=r"exists; remove it to convert again"):
        convert(tfrecord_dataset)
    with pytest.raises(DataError, match=r"holds array_record already"):
        convert(path)


def test_a_dataset_is_converted_by_name_into_a_folder_that_is_given(
    home, tfrecord_dataset, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(home / "data"))
    (home / "out").mkdir()
    assert convert("shapes", data_dir=home / "out") == home / "out" / "shapes" / "1.0.0"
    with pytest.raises(DataError, match=r"'shape'\. Did you mean 'shapes:1.0.0'\?"):
        convert("shape")


@pytest.mark.parametrize("damage", ["flip", "length", "cut", "header"])
def test_damage_is_named_and_leaves_no_half_converted_dataset(home, tfrecord_dataset, damage):
    file = tfrecord_dataset / "shapes-train.tfrecord-00000-of-00001"
    content = bytearray(file.read_bytes())
    first = 16 + struct.unpack("<Q", content[:8])[0]
    if damage == "flip":
        content[first + 40] ^= 1
    elif damage == "length":
        content[first] ^= 1
    elif damage == "cut":
        content = content[: first + 30]
    else:
        content = content[: first + 5]
    file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"train.tfrecord-00000-of-00001, record 1: .*(wrong|cut off)"
    ):
        convert(tfrecord_dataset)
    assert [p for p in (home / "cache" / "tfds").rglob("*") if p.is_file()] == []


def test_a_file_with_too_few_records_is_an_error(tfrecord_dataset):
    file = tfrecord_dataset / "shapes-train.tfrecord-00000-of-00001"
    write_records(file, list(read_records(file))[:-1])
    with pytest.raises(DataError, match=r"holds 29 records and should hold 30"):
        convert(tfrecord_dataset)


def test_the_list_names_format_splits_and_folder(home, shapes, tfrecord_dataset):
    prepare("digits")
    table = format_prepared(home / "data").splitlines()
    assert [line.split()[0] for line in table] == ["dataset", "digits:1.0.0", "shapes:1.0.0"]
    assert "array_record" in table[1] and "train 1,433, test 364" in table[1]
    assert "tfrecord (convert it)" in table[2] and str(tfrecord_dataset) in table[2]


def test_an_unknown_tfds_name_suggests_the_nearest(home):
    with pytest.raises(DataError, match=r"Unknown TFDS dataset 'cifr10'\. Did you mean 'cifar10'"):
        prepare("cifr10")


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed"
)
def test_preparing_without_tensorflow_says_what_to_install(home):
    with pytest.raises(DataError, match=r"pip install '\.\[prepare\]' in the clone"):
        prepare("cifar10")


def test_the_script_converts_and_reports_errors_without_a_traceback(home, tfrecord_dataset):
    def script(*arguments):
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / "prepare_data.py", *map(str, arguments)],
            capture_output=True,
            text=True,
        )

    done = script("--convert", tfrecord_dataset)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(home / "cache" / "tfds" / "shapes" / "1.0.0")
    failed = script("--convert", tfrecord_dataset)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ") and "Traceback" not in failed.stderr
