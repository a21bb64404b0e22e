"""ResNet-18 on ImageNet (He et al. 2015, section 3.4).

Batch 256, SGD 0.1 with momentum 0.9 and decay 1e-4, divided by ten at 30 and 60 of 90 epochs, where
the paper waits for the error to plateau; random crops of random size in place of scaled ones.
"""

from jaxcnn.train import IMAGENET, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="resnet18",
        data=IMAGENET,
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            weight_decay=1e-4,
            schedule="step",
            milestones=(epochs(30), epochs(60)),
        ),
        batch_size=256,
        length=epochs(90),
        eval_every=epochs(1),
        eval_batch_size=512,
        checkpoint_every=steps(2000),
        log_every=steps(100),
    )
