"""Images per second through the whole loader, beside tf.data where TensorFlow is at hand.

    python benchmarks/input_pipeline.py [--cores 1 2] [--rounds 5] [--tensorflow PYTHON]

Photos: `imagenet_sample` through TrainLoader (array_record, JPEG, random resized crop to 224,
batches of 64), and with the resize to 256 and crop of evaluation. Small: `cifar10_jpeg`, batches
of 128. PYTHON is an interpreter with TensorFlow: its side holds the same photos in memory and uses
the fused decode_and_crop_jpeg and a bilinear resize (benchmarks/tfdata_pipeline.py). Each
measurement is a process of its own, held to its cores; the sides take turns.
Datasets are looked for in TFDS_DATA_DIR. Writes benchmarks/results/input_pipeline.json.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# name: dataset, split, batch, batches in a measurement
CASES = {
    "photos_train": ("imagenet_sample", "test", 64, 24),
    "photos_eval": ("imagenet_sample", "test", 64, 16),
    "small": ("cifar10_jpeg", "train", 128, 240),
}


def measure(case: str, cores: int) -> dict[str, float]:
    """Runs in a process that is held to `cores` cores."""
    from jaxcnn.data import Order, RandomResizedCrop, TrainLoader, default_preprocess, open_source
    from jaxcnn.preprocess import Preprocess

    dataset, split, batch, batches = CASES[case]
    source = open_source(dataset, split)
    small = case == "small"
    record = default_preprocess(source) if small else Preprocess((224, 224))
    crop = RandomResizedCrop() if case == "photos_train" else None
    order = Order(len(source), batch, seed=0)
    with TrainLoader(source, record, order, threads=cores, augment=crop) as loader:
        stream = iter(loader)
        for _ in range(4):
            next(stream)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(batches):
            next(stream)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"images": batches * batch, "wall": wall, "cpu": cpu}


def run(command: list[str], cores: int, **environment: str) -> dict[str, float]:
    """A measurement in a process of its own on the first `cores` cores."""
    held = sorted(os.sched_getaffinity(0))[:cores]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env=os.environ | environment,
        preexec_fn=lambda: os.sched_setaffinity(0, held),
    )
    return json.loads(done.stdout.splitlines()[-1])


def write_photos(folder: pathlib.Path) -> None:
    """The photos as JPEG files, for the other side."""
    from jaxcnn.data import open_source

    source = open_source(*CASES["photos_train"][:2])
    for i in range(len(source)):
        (folder / f"{i:03}.jpg").write_bytes(source[i].image)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tensorflow", metavar="PYTHON")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], int(options.measure[1]))))
        return
    rows = [row for cores in options.cores for row in compare(options, cores)]
    import report

    from jaxcnn.data import native

    decoder = "libjpeg-turbo, compiled" if native.load() else "Pillow"
    report.write("input_pipeline.json", {"decoder": decoder, "rows": rows})


def compare(options: argparse.Namespace, cores: int) -> list[dict]:
    """Every side in turn, `rounds` times; medians of images per second and per second of CPU."""
    seen: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.tensorflow:
            write_photos(pathlib.Path(folder))
        for _ in range(options.rounds):
            for case in options.cases:
                command = [sys.executable, __file__, "--measure", case, str(cores)]
                seen.setdefault(case, []).append(run(command, cores))
                if case == "photos_train":
                    pillow = run(command, cores, JAXCNN_NATIVE="0")
                    seen.setdefault("photos_train, Pillow", []).append(pillow)
            if options.tensorflow:
                other = [options.tensorflow, str(HERE / "tfdata_pipeline.py"), folder]
                seen.setdefault("tf.data", []).append(run([*other, str(cores)], cores))
    return [
        {
            "what": name,
            "cores": cores,
            "images_per_second": round(median(done, "wall"), 1),
            "images_per_cpu_second": round(median(done, "cpu"), 1),
            "rounds": [round(d["images"] / d["wall"], 1) for d in done],
        }
        for name, done in seen.items()
    ]


def median(done: list[dict[str, float]], clock: str) -> float:
    return statistics.median(d["images"] / d[clock] for d in done)


if __name__ == "__main__":
    main()
