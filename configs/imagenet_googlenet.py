"""GoogLeNet with BatchNorm on ImageNet (Szegedy et al. 2014, section 6).

The paper gives momentum 0.9, auxiliary losses weighted by 0.3 and the random crops, but neither
rate, batch nor length; those are ours: batch 256, 0.1 falling by a cosine over 90 epochs, decay
1e-4.
"""

from jaxcnn.train import IMAGENET, OptimizerConfig, TrainConfig, epochs, steps


def config() -> TrainConfig:
    return TrainConfig(
        model="googlenet",
        data=IMAGENET,
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            weight_decay=1e-4,
            schedule="cosine",
            warmup=epochs(1),
        ),
        batch_size=256,
        length=epochs(90),
        eval_every=epochs(1),
        eval_batch_size=512,
        checkpoint_every=steps(2000),
        log_every=steps(100),
    )
