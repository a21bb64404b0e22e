"""A template for your own images: one folder for each class.

    python scripts/train.py folder_finetune --data.dataset folder:/path/to/images

Photos are cropped at random to 32x32 and trained on from scratch; change the model, the size and
the length to what your data asks for. Without train/ and val/ folders a fifth of each class is
held out; with others, name them by --data.train-split and --data.eval-split.
"""

from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD
from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="cifar_resnet20",
        data=DataConfig(
            dataset="folder:images",
            train_split="train",
            eval_split="val",
            image_size=(32, 32),
            channels=3,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            resize="shorter",
            random_resized_crop=True,
            flip=True,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.05,
            nesterov=True,
            weight_decay=5e-4,
            schedule="cosine",
            warmup=epochs(1),
        ),
        batch_size=32,
        length=epochs(30),
        ema=0.99,
        log_every=steps(20),
    )
