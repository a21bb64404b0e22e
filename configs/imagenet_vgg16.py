"""VGG-16 on ImageNet (Simonyan and Zisserman 2014, section 3.1).

Batch 256, SGD 0.01 with momentum 0.9 and decay 5e-4, dropout, 74 epochs, divided by ten three
times: the paper waits for the accuracy to stall, this recipe takes 25, 45 and 60. A warm-up of one
epoch stands in for the paper's start from a trained shallow network.
"""

from jaxcnn.train import IMAGENET, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="vgg16",
        data=IMAGENET,
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            weight_decay=5e-4,
            schedule="step",
            warmup=epochs(1),
            milestones=(epochs(25), epochs(45), epochs(60)),
        ),
        batch_size=256,
        length=epochs(74),
        eval_every=epochs(1),
        eval_batch_size=512,
        checkpoint_every=steps(2000),
        log_every=steps(100),
    )
