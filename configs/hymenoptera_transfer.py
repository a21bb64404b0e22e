"""Ants and bees, 244 photos to train on, from a network of small images (docs/transfer.md).

    python scripts/train.py hymenoptera_transfer --data.dataset folder:hymenoptera_data \
        --transfer.weights cifar_resnet20.safetensors --transfer.regime linear_probe

hymenoptera_data is the unpacked zip of PyTorch's transfer learning tutorial (docs/data.md). Without
--transfer.weights it trains from scratch. The images are 32x32, as the network's were:
most of an ant is lost.
"""

from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD
from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, epochs


def config() -> TrainConfig:
    return TrainConfig(
        model="cifar_resnet20",
        data=DataConfig(
            dataset="hymenoptera",
            eval_split="val",
            image_size=(32, 32),
            channels=3,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            resize="shorter",
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.02, nesterov=True, weight_decay=5e-4, schedule="cosine"
        ),
        batch_size=32,
        length=epochs(10),
        eval_every=epochs(10),
        checkpoint_every=epochs(10),
    )
