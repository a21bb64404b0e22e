"""ResNet-50 on ImageNet on 8 devices: batch 8 x 256, by linear scaling (Goyal et al. 2017).

The rate is 0.1 x 2048 / 256, reached from 0.1 in 5 epochs; the rest is imagenet_resnet50's, with
label smoothing of 0.1 and bfloat16 as is usual today. Fewer devices: --accumulate 8 on one.
"""

from jaxcnn.train import IMAGENET, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="resnet50",
        model_args={"zero_init": 1},
        data=IMAGENET,
        optimizer=OptimizerConfig(
            learning_rate=0.8,
            nesterov=True,
            weight_decay=1e-4,
            decay="kernels",
            schedule="step",
            warmup=epochs(5),
            warmup_from=0.1,
            milestones=(epochs(30), epochs(60), epochs(80)),
        ),
        batch_size=2048,
        label_smoothing=0.1,
        dtype="bfloat16",
        length=epochs(90),
        eval_every=epochs(1),
        eval_batch_size=2048,
        checkpoint_every=steps(500),
        log_every=steps(20),
    )
