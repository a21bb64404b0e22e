"""Make docs/gallery: every kind of picture, from trained networks.

python scripts/gallery.py [--weights cifar_resnet20.safetensors] [--data-dir DIR]

Trains two small networks on digits where RUNS has none yet; the pictures of ResNet-20 need its
published weights and the photos of `cifar10_jpeg` and `imagenet_sample`, and are left as they are
without them. The gradient flow is made by benchmarks/gradient_flow.py.
"""

from __future__ import annotations

import argparse
import pathlib

import command_line

with command_line.importing():
    from jaxcnn import create_model, load_network
    from jaxcnn.data import open_source, prepare_image
    from jaxcnn.preprocess import Preprocess
    from jaxcnn.train import Network, fit
    from jaxcnn.train.figures import make_subject, read_curves
    from jaxcnn.visualize import draw_pictures, draw_runs, draw_views, unit_views

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIGITS = ("digits_cnn", "digits_mlp")
PHOTOS = 6
_PUPPY = 10


def main(arguments: list[str]) -> int:
    parser = command_line.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=pathlib.Path, default="runs/gallery", metavar="RUNS")
    parser.add_argument("--weights", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--data-dir", help="where TFDS datasets lie (TFDS_DATA_DIR)")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "docs" / "gallery")
    options = parser.parse_args(arguments)
    if options.weights is not None and not options.weights.is_file():
        raise ValueError(f"--weights {options.weights} is no file.")

    runs = [options.runs / name for name in DIGITS]
    for name, folder in zip(DIGITS, runs, strict=True):
        result = fit(command_line.load_recipe(name), folder)
        if result.status == "interrupted":
            return 130 if result.signal == "SIGINT" else 143
    path = options.output / "learning_curves.png"
    draw_runs(read_curves(runs), path, title="Two networks on handwritten digits")
    print(path)
    _draw(load_network(runs[0]), open_source("digits", "test"), options.output / "digits")
    if options.weights is None:
        print("cifar: left out, no --weights were given")
        return 0
    network = load_network(options.weights, "cifar_resnet20")
    source = open_source("cifar10_jpeg", "test", data_dir=options.data_dir)
    _draw(network, source, options.output / "cifar")
    _boxes(options.data_dir, options.output / "receptive_fields.png")
    return 0


def _draw(network: Network, source, folder: pathlib.Path) -> None:
    for _, result in draw_pictures(make_subject(network, source, PHOTOS), folder):
        print(result)


def _boxes(data_dir: str | None, path: pathlib.Path) -> None:
    """VGG-16's receptive fields, which need no weights, on a photo of ImageNet."""
    source = open_source("imagenet_sample", "test", data_dir=data_dir)
    photo = prepare_image(source[_PUPPY].image, Preprocess((224, 224)))
    draw_views(photo, unit_views(create_model("vgg16"), (224, 224)), path, title="VGG-16")
    print(path)


if __name__ == "__main__":
    command_line.run(main)
