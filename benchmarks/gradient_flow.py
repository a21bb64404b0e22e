"""How much gradient reaches each layer of a plain network and of its residual twin.

    TFDS_DATA_DIR=... python benchmarks/gradient_flow.py [--steps 150] [--batch-size 32]

Trains cifar_plain56 and cifar_resnet56 from the same seed on the same batches (He et al. 2015,
section 4.2: SGD with momentum 0.9 and decay 1e-4; its rate of 0.1 for a batch of 128 is 0.025 for
32), and records the norm of every kernel's gradient.
Writes benchmarks/results/gradient_flow.json and docs/gallery/gradient_flow.png.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
import report

from jaxcnn.data import open_source, prepare_image
from jaxcnn.data.augment import normalize
from jaxcnn.models import create_model
from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from jaxcnn.visualize import GradientFlow, draw_gradient_flow, gradient_flow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["cifar_plain56", "cifar_resnet56"])
    parser.add_argument("--dataset", default="cifar10_jpeg")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.025)
    parser.add_argument("--seed", type=int, default=0)
    picture = report.ROOT / "docs" / "gallery" / "gradient_flow.png"
    parser.add_argument("--picture", type=pathlib.Path, default=picture)
    options = parser.parse_args()

    images, labels, classes = examples(options)
    flows = [
        gradient_flow(
            create_model(name, num_classes=classes),
            zip(images, labels, strict=True),
            name=name,
            learning_rate=options.learning_rate,
            seed=options.seed,
        )
        for name in options.models
    ]
    title = (
        f"{options.dataset}, batch {options.batch_size}, SGD {options.learning_rate}: the gradient "
        "that reaches each layer"
    )
    draw_gradient_flow(flows, options.picture, title=title)
    values = {flow.name: summary(flow) for flow in flows}
    settings = {k: v for k, v in vars(options).items() if k not in ("models", "picture")}
    report.write("gradient_flow.json", settings | values)


def examples(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, int]:
    """Normalised images [steps, B, 32, 32, 3], labels [steps, B], and the number of classes."""
    source = open_source(options.dataset, "train")
    chosen = np.random.default_rng(options.seed).permutation(len(source))
    chosen = chosen[: options.steps * options.batch_size]
    preprocess = Preprocess((32, 32), resize="squash")
    found = [source[int(i)] for i in chosen]
    pixels = np.stack([prepare_image(example.image, preprocess) for example in found])
    inputs = np.asarray(normalize(pixels, IMAGENET_MEAN, IMAGENET_STD))
    shape = (options.steps, options.batch_size)
    labels = np.array([example.label for example in found], np.int32)
    return (
        inputs.reshape(*shape, *inputs.shape[1:]),
        labels.reshape(shape),
        len(source.class_names),
    )


def summary(flow: GradientFlow) -> dict[str, object]:
    """Norms of the first and last convolution, their ratio over all layers, and the loss."""
    last = max(1, len(flow.losses) // 6)
    return {
        "layers": len(flow.layers),
        "first_step_norm_of_first_layer": float(f"{flow.norms[0, 0]:.4g}"),
        "first_step_norm_of_last_convolution": float(f"{flow.norms[0, -2]:.4g}"),
        "first_step_largest_over_smallest": float(f"{flow.spread[0]:.4g}"),
        "last_step_largest_over_smallest": float(f"{flow.spread[-1]:.4g}"),
        "first_loss": round(float(flow.losses[0]), 4),
        f"mean_loss_of_last_{last}_steps": round(float(flow.losses[-last:].mean()), 4),
    }


if __name__ == "__main__":
    main()
