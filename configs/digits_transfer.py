"""Digits, twice as large and as RGB, from a network of photos (docs/transfer.md).

    python scripts/train.py digits_transfer --transfer.weights cifar_resnet20.safetensors \
        --transfer.regime top_layers

Without --transfer.weights it trains from scratch.
"""

from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD
from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, epochs


def config() -> TrainConfig:
    return TrainConfig(
        model="cifar_resnet20",
        data=DataConfig(
            dataset="digits",
            image_size=(16, 16),
            channels=3,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            resize="squash",
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.02, nesterov=True, weight_decay=5e-4, schedule="cosine"
        ),
        batch_size=32,
        length=epochs(4),
        eval_every=epochs(4),
        checkpoint_every=epochs(4),
    )
