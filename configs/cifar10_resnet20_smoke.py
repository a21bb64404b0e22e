"""One epoch of the CIFAR-10 recipe: does everything run, and how fast?"""

from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD
from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="cifar_resnet20",
        data=DataConfig(
            dataset="cifar10",
            image_size=(32, 32),
            channels=3,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            flip=True,
            pad_crop=4,
        ),
        optimizer=OptimizerConfig(learning_rate=0.1, schedule="constant"),
        batch_size=128,
        length=epochs(1),
        log_every=steps(20),
    )
