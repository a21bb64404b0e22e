"""A perceptron on the digits: what the small CNN is to be compared with."""

from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, epochs


def config() -> TrainConfig:
    return TrainConfig(
        model="mlp",
        data=DataConfig(dataset="digits", image_size=(8, 8), channels=1, pad_crop=1),
        optimizer=OptimizerConfig(
            learning_rate=0.05,
            nesterov=True,
            weight_decay=5e-4,
            schedule="cosine",
            warmup=epochs(2),
        ),
        batch_size=64,
        length=epochs(40),
        eval_every=epochs(5),
        checkpoint_every=epochs(5),
    )
