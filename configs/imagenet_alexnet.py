"""AlexNet on ImageNet (Krizhevsky et al. 2012, section 5).

Batch 128, SGD 0.01 with momentum 0.9 and decay 5e-4, divided by ten three times in 90 epochs: the
paper waits for the validation error to stall, this recipe takes 30, 60 and 80. Crops are of random
size, not of 224 out of 256; the colours move along their principal components as in the paper.
"""

import dataclasses

from jaxcnn.train import IMAGENET, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="alexnet_paper",
        data=dataclasses.replace(
            IMAGENET,
            image_size=(227, 227),
            lighting=0.1,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            weight_decay=5e-4,
            schedule="step",
            milestones=(epochs(30), epochs(60), epochs(80)),
        ),
        batch_size=128,
        length=epochs(90),
        eval_every=epochs(1),
        eval_batch_size=512,
        checkpoint_every=steps(2000),
        log_every=steps(100),
    )
