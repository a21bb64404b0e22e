"""ResNet-20 on CIFAR-10 as in the paper (He et al. 2015, section 4.2).

64k steps at batch 128, SGD 0.1 with momentum 0.9 and decay 1e-4, divided by ten at 32k and 48k;
4 pixels of padding, a random crop and a flip. The paper subtracts the per-pixel mean; this
recipe subtracts and divides by channel.
"""

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
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="step",
            milestones=(steps(32_000), steps(48_000)),
        ),
        batch_size=128,
        length=steps(64_000),
        eval_every=epochs(5),
        checkpoint_every=epochs(1),
        log_every=steps(100),
    )
