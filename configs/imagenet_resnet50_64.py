"""ResNet-50 on ImageNet on 64 devices: batch 64 x 256, by LARS (You et al. 2017).

The rate of 25 with 5 epochs of warm-up, the polynomial of power 2, label smoothing of 0.1 and decay
1e-4 are those of MLPerf's reference for batches from 16,384 on; it is given 90 epochs here.
"""

from jaxcnn.train import IMAGENET, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="resnet50",
        model_args={"zero_init": 1},
        data=IMAGENET,
        optimizer=OptimizerConfig(
            name="lars",
            learning_rate=25.0,
            weight_decay=1e-4,
            decay="kernels",
            schedule="polynomial",
            power=2.0,
            warmup=epochs(5),
        ),
        batch_size=16384,
        label_smoothing=0.1,
        dtype="bfloat16",
        length=epochs(90),
        eval_every=epochs(4),
        eval_batch_size=16384,
        checkpoint_every=steps(200),
        log_every=steps(10),
    )
