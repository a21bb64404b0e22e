"""The loaders: deterministic, resumable, split over processes, exact, and honest about damage."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from jaxcnn.data import DataError, EvalLoader, Order, RandomResizedCrop, TrainLoader, load_all
from jaxcnn.data.reader import BadImages, ExampleReader
from jaxcnn.data.source import Example
from jaxcnn.preprocess import Preprocess


def take(loader, number):
    with loader:
        return [batch for batch, _ in zip(loader, range(number), strict=False)]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_batch_holds_what_the_order_says(array_source, tiny):
    source, order = array_source(100), Order(100, 80, seed=0)
    for step, batch in enumerate(take(TrainLoader(source, tiny, order), 3)):
        index, epoch = order.rows(step)
        np.testing.assert_array_equal(batch["index"], index)
        np.testing.assert_array_equal(batch["epoch"], epoch)
        np.testing.assert_array_equal(batch["label"], index % 10)
        np.testing.assert_array_equal(batch["image"][:, 2, 1, 0], index)
        assert batch["mask"].all()
        dtypes = {name: str(x.dtype) for name, x in batch.items()}
        assert dtypes == {
            "image": "uint8",
            "label": "int32",
            "mask": "bool",
            "index": "int64",
            "epoch": "int32",
        }
        assert batch["image"].shape == (80, 4, 4, 1)


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_the_threads_do_not_change_the_batches(array_source, tiny, threads):
    source, order = array_source(100), Order(100, 70, seed=0)
    expected = take(TrainLoader(source, tiny, order, threads=2), 4)
    assert_same(take(TrainLoader(source, tiny, order, threads=threads), 4), expected)


def test_resuming_at_a_step_equals_the_straight_run(array_source):
    class Photos(array_source):
        def __getitem__(self, index):
            pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
            return Example(pixels, index % 10, str(index))

    source, record = Photos(50), Preprocess((8, 8))

    def loader(start):
        order = Order(50, 40, seed=1)
        return TrainLoader(source, record, order, start_step=start, augment=RandomResizedCrop())

    assert_same(take(loader(3), 3), take(loader(0), 6)[3:])


def test_resuming_reads_nothing_of_what_came_before(array_source, tiny):
    class Counting(array_source):
        read = 0

        def __getitem__(self, index):
            Counting.read += 1
            return super().__getitem__(index)

    loader = TrainLoader(Counting(1000), tiny, Order(1000, 8, seed=0), start_step=10_000, threads=1)
    take(loader, 1)
    assert Counting.read <= 8 * 4 * 3  # four batches at once, and what was read ahead


def test_an_augmented_image_does_not_depend_on_its_batch(array_source):
    class Photos(array_source):
        def __getitem__(self, index):
            pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
            return Example(pixels, 0, str(index))

    def views(batch_size):
        order = Order(30, batch_size, seed=1)
        loader = TrainLoader(Photos(30), Preprocess((8, 8)), order, augment=RandomResizedCrop())
        return {
            (int(epoch), int(index)): image.tobytes()
            for batch in take(loader, 60 // batch_size)
            for epoch, index, image in zip(
                batch["epoch"], batch["index"], batch["image"], strict=True
            )
        }

    assert views(30) == views(4) == views(10)


@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_blocks_make_up_the_batch(array_source, tiny, processes):
    source = array_source(100)

    def train(i, count):
        order = Order(100, 24, seed=0)
        return take(TrainLoader(source, tiny, order, process_index=i, process_count=count), 5)

    def evaluate(i, count):
        return list(EvalLoader(source, tiny, 24, process_index=i, process_count=count))

    for kind in (train, evaluate):
        parts = [kind(i, processes) for i in range(processes)]
        joined = [
            {name: np.concatenate([part[name] for part in group]) for name in group[0]}
            for group in zip(*parts, strict=True)
        ]
        assert_same(joined, kind(0, 1))


def test_evaluation_counts_10007_of_10007(array_source, tiny):
    source = array_source(10_007)
    batches = list(EvalLoader(source, tiny, 128))
    assert len(batches) == len(EvalLoader(source, tiny, 128)) == 79
    assert {batch["image"].shape for batch in batches} == {(128, 4, 4, 1)}
    mask = np.concatenate([batch["mask"] for batch in batches])
    index = np.concatenate([batch["index"] for batch in batches])
    assert mask.sum() == 10_007
    np.testing.assert_array_equal(index[mask], np.arange(10_007))
    rest = ~batches[-1]["mask"]
    assert rest.sum() == 79 * 128 - 10_007
    assert (batches[-1]["index"][rest] == -1).all()
    assert not batches[-1]["image"][rest].any() and not batches[-1]["label"][rest].any()


def test_an_empty_split_has_no_batches(array_source, tiny):
    assert list(EvalLoader(array_source(0), tiny, 8)) == []


def test_load_all_gives_every_image_in_place(array_source, tiny):
    images, labels = load_all(array_source(1100), tiny)
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(1100) % 251)
    np.testing.assert_array_equal(labels, np.arange(1100) % 10)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
    with pytest.raises(DataError, match="has no examples"):
        load_all(array_source(0), tiny)


NAMED = r"'arrays', split 'train', index 3, key 'file-3'.*no image in a known format"


def test_a_bad_image_is_named(array_source, tiny):
    source = array_source(10, bad=[3])
    with pytest.raises(DataError, match=NAMED):
        take(TrainLoader(source, tiny, Order(10, 5, seed=0)), 2)
    with pytest.raises(DataError, match=NAMED):
        list(EvalLoader(source, tiny, 4))
    with pytest.raises(DataError, match=NAMED):
        load_all(source, tiny)


def test_every_batch_with_a_bad_image_beyond_the_limit_fails(array_source, tiny):
    reader = ExampleReader(
        array_source(10, bad=[3]), tiny, BadImages(array_source(10), 0), replace=True
    )
    for _ in range(2):  # a thread that comes second must not put another in its place
        rows = reader.allocate(np.array([2, 3]), np.zeros(2, np.int32))
        with pytest.raises(DataError, match="index 3"):
            reader.read(rows)


def test_training_puts_the_next_good_image_in_a_bad_ones_place(array_source, tiny):
    source, order = array_source(10, bad=[3, 4, 9]), Order(10, 10, seed=0, shuffle=False)
    loader = TrainLoader(source, tiny, order, max_bad=3)
    with loader:
        stream = iter(loader)
        batches = [next(stream) for _ in range(3)]
        assert loader.bad_count == 3
    for batch in batches:
        assert batch["index"].tolist() == [0, 1, 2, 5, 5, 5, 6, 7, 8, 0]
        assert batch["label"].tolist() == [0, 1, 2, 5, 5, 5, 6, 7, 8, 0]
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])
        assert batch["mask"].all()


def test_evaluation_masks_and_counts_a_bad_image(array_source, tiny):
    loader = EvalLoader(array_source(10, bad=[3, 9]), tiny, 4, max_bad=2)
    batches = list(loader)
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert np.flatnonzero(~mask).tolist() == [3, 9, 10, 11]
    assert loader.bad_count == 2


def test_above_the_limit_bad_images_are_an_error(array_source, tiny):
    source = array_source(10, bad=[1, 3])
    with pytest.raises(DataError, match=r"index 3.*after 1 others that were skipped"):
        list(EvalLoader(source, tiny, 4, max_bad=1, threads=1))


def test_a_split_without_any_good_image_is_an_error(array_source, tiny):
    source = array_source(4, bad=range(4))
    with pytest.raises(DataError, match=r"None of the 4 examples"):
        take(TrainLoader(source, tiny, Order(4, 2, seed=0), max_bad=10), 1)


def test_a_record_that_cannot_be_read_counts_as_bad(array_source, tiny):
    class Broken(array_source):
        def __getitem__(self, index):
            if index == 2:
                raise RuntimeError("hash mismatch")
            return super().__getitem__(index)

    with pytest.raises(DataError, match=r"index 2.*RuntimeError: hash mismatch"):
        list(EvalLoader(Broken(5), tiny, 5))
    loader = EvalLoader(Broken(5), tiny, 5, max_bad=1)
    assert next(iter(loader))["mask"].tolist() == [True, True, False, True, True]


def test_a_damaged_file_of_records_is_named(home, shapes):
    import os
    import shutil

    from jaxcnn.data import open_source

    shutil.copytree(shapes / "shapes", home / "data" / "shapes")
    file = home / "data/shapes/1.0.0/shapes-train.array_record-00000-of-00001"
    content = bytearray(file.read_bytes())
    at = content.index(b"IDAT")
    content[at + 6] ^= 0x40
    file.write_bytes(content)
    assert os.path.getsize(file) == len(content)
    source = open_source("shapes", "train", data_dir=home / "data")
    record = Preprocess((6, 5), resize="none")
    with pytest.raises(DataError, match=r"'shapes', split 'train', index \d+, key 'record \d+'"):
        list(EvalLoader(source, record, 8))
    loader = EvalLoader(source, record, 8, max_bad=1)
    assert sum(batch["mask"].sum() for batch in loader) == 29
    assert loader.bad_count == 1


def test_a_label_outside_the_classes_never_reaches_a_batch(array_source, tiny):
    class Unlabelled(array_source):
        def __getitem__(self, index):
            example = super().__getitem__(index)
            return Example(example.image, -1 if index == 6 else example.label, example.key)

    with pytest.raises(DataError, match=r"Label -1 of .* index 6, .* lies outside 0\.\.9"):
        list(EvalLoader(Unlabelled(10), tiny, 5, max_bad=5))


def test_an_image_of_another_size_is_an_error_that_is_not_skipped(array_source):
    record = Preprocess((5, 5), channels=1, mean=(0.5,), std=(0.5,), resize="none")
    with pytest.raises(DataError, match=r"index 0, key 'file-0': The image has 4 x 4 pixels"):
        list(EvalLoader(array_source(3), record, 3, max_bad=3, threads=1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"process_index": 2, "process_count": 2}, r"process_index=2 must lie in 0\.\.1"),
        ({"process_count": 3}, "batch_size=8 is not a positive multiple of the 3 processes"),
        ({"threads": 0}, "threads=0"),
        ({"max_bad": -1}, "max_bad=-1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(array_source, tiny, fields, message):
    with pytest.raises(ValueError, match=message):
        TrainLoader(array_source(10), tiny, Order(10, 8, seed=0), **fields)
    with pytest.raises(ValueError, match=message):
        EvalLoader(array_source(10), tiny, 8, **fields)


def test_an_order_of_another_size_is_refused(array_source, tiny):
    with pytest.raises(ValueError, match="order is of 9 examples and the source has 10"):
        TrainLoader(array_source(10), tiny, Order(9, 3, seed=0))


def _readers() -> int:
    return sum(thread.name.startswith("grain-prefetch") for thread in threading.enumerate())


def test_closing_ends_the_threads_and_what_is_read_ahead_is_bounded(array_source, tiny):
    class Slow(array_source):
        started = 0

        def __getitem__(self, index):
            Slow.started += 1
            time.sleep(0.001)
            return super().__getitem__(index)

    gc.collect()
    before = _readers()
    loader = TrainLoader(Slow(10_000), tiny, Order(10_000, 64, seed=0), threads=4)
    stream = iter(loader)
    next(stream)
    time.sleep(0.5)
    assert Slow.started <= 64 * 4 * (4 + 1)  # four batches for each thread, and those given
    loader.close()
    assert next(stream, None) is None
    deadline = time.monotonic() + 5
    while _readers() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _readers() <= before


def test_ctrl_c_ends_a_process_that_reads(tmp_path):
    code = """
    import signal, time
    import numpy as np
    from jaxcnn.data import Example, Order, TrainLoader
    from jaxcnn.preprocess import Preprocess

    # A job of the background inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class Slow:
        name, split, class_names, fingerprint = "slow", "train", ("a",), "x"
        def __len__(self): return 1000
        def __getitem__(self, index):
            time.sleep(0.002)
            return Example(np.zeros((4, 4, 3), np.uint8), 0, "k")

    loader = TrainLoader(Slow(), Preprocess((4, 4), resize="none"), Order(1000, 64, seed=0))
    for step, batch in enumerate(loader):
        if step == 1:
            print("running", flush=True)
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None and run.stdout.readline() == "running\n"
    run.send_signal(signal.SIGINT)
    try:
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode != 0 and "KeyboardInterrupt" in errors
