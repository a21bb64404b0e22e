"""ResNet-50 on ImageNet in 90 epochs: the 76%-class recipe (Goyal et al. 2017, section 5.1).

Batch 256, SGD 0.1 with Nesterov momentum, decay 1e-4 but not on norms and biases, the last scale of
each block starting at 0, divided by ten at 30, 60 and 80 epochs. The paper's top-1 is 76.4% (error
23.6 +- 0.12); not trained here. imagenet_resnet50_8 and imagenet_resnet50_64 are for more devices.
"""

from jaxcnn.train import IMAGENET, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="resnet50",
        model_args={"zero_init": 1},
        data=IMAGENET,
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            nesterov=True,
            weight_decay=1e-4,
            decay="kernels",
            schedule="step",
            milestones=(epochs(30), epochs(60), epochs(80)),
        ),
        batch_size=256,
        length=epochs(90),
        eval_every=epochs(1),
        eval_batch_size=512,
        checkpoint_every=steps(2000),
        log_every=steps(100),
    )
