"""The small CNN on scikit-learn's digits: the first thing to try."""

from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, epochs


def config() -> TrainConfig:
    return TrainConfig(
        model="small_cnn",
        data=DataConfig(dataset="digits", image_size=(8, 8), channels=1, pad_crop=1),
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            nesterov=True,
            weight_decay=5e-4,
            schedule="cosine",
            warmup=epochs(2),
        ),
        batch_size=64,
        length=epochs(40),
        label_smoothing=0.1,
        ema=0.99,
        eval_every=epochs(5),
        checkpoint_every=epochs(5),
    )
