"""Images per second through the whole loader, beside tf.data where TensorFlow is at hand.

    python benchmarks/input_pipeline.py [--cores 1 2] [--rounds 5] [--tensorflow PYTHON]

What `scripts/benchmark.py --input` measures, for four inputs. Photos: `imagenet_sample` with random
resized crops to 224, batches of 64, in turn with Pillow and with tf.data in the interpreter PYTHON
(its photos in memory); and with the resize to 256 and crop of evaluation. Small records, batches of
128: `cifar10_jpeg`, and 10,000 of its images as PNGs, as CIFAR-10 itself is stored.
Datasets are looked for in TFDS_DATA_DIR. Writes benchmarks/results/input_pipeline.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Iterator
from typing import Any

import report
import tensorflow_datasets as tfds
from PIL import Image

from jaxcnn.benchmark import InputCase, measure
from jaxcnn.data import decode, native, open_source

PNGS = 10_000


class Cifar10Png(tfds.core.GeneratorBasedBuilder):
    """The first images of `cifar10_jpeg`, decoded and stored as PNGs."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        names = open_source("cifar10_jpeg", "train").class_names
        features = {
            "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(names)),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[Any]:
        source = open_source("cifar10_jpeg", "train")
        for i in range(PNGS):
            file = io.BytesIO()
            Image.fromarray(decode(source[i].image, 3)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": source[i].label}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tensorflow", metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stderr(io.StringIO()):
            Cifar10Png(data_dir=folder, file_format="array_record").download_and_prepare()
        rows = [row for cores in options.cores for row in compare(options, cores, folder)]
    decoder = "libjpeg-turbo, compiled" if native.load() else "Pillow"
    report.write("input_pipeline.json", {"decoder": decoder, "rows": rows})


def compare(options: argparse.Namespace, cores: int, folder: str) -> list[dict[str, Any]]:
    """One row for each input and side; ratios are of the loader to the side."""
    shared = {"cores": cores, "rounds": options.rounds}
    photos = InputCase("imagenet_sample", "test", tensorflow=options.tensorflow, **shared)
    evaluation = InputCase("imagenet_sample", "test", crop="evaluation", **shared)
    small = {"batch_size": 128, "steps": 240, **shared}
    others = ("pillow", *(("tf.data",) if options.tensorflow else ()))
    rows = []
    for what, case, sides in (
        ("photos, random crops", photos, ("jaxcnn", *others)),
        ("photos, evaluation", evaluation, ("jaxcnn",)),
        ("small JPEGs", InputCase("cifar10_jpeg", **small), ("jaxcnn", "pillow")),
        ("small PNGs", InputCase("cifar10_png", data_dir=folder, **small), ("jaxcnn", "pillow")),
    ):
        result = measure(case, sides)
        for side, values in result["sides"].items():
            rows.append(
                {
                    "what": what,
                    "side": side,
                    "cores": cores,
                    "images_per_second": values["images_per_second"],
                    "images_per_cpu_second": round(1e3 / values["cpu_milliseconds_per_image"], 1),
                    "rounds": values["rounds"],
                    "loader_is_times_as_fast": result["ratios"].get(side, {}).get("speed"),
                }
            )
    return rows


if __name__ == "__main__":
    main()
