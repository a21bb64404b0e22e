"""Your own photos from a network of ImageNet, by name from the Hub (needs the `hub` extra).

    python scripts/train.py imagenet_weights_finetune --data.dataset folder:/path/to/images

It fine-tunes everything, each stage at half the rate of the one after it. With a few hundred
photos take --transfer.regime linear_probe; scripts/advise.py says which. docs/transfer.md says what
to expect.
"""

from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD
from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, TransferConfig, epochs


def config() -> TrainConfig:
    return TrainConfig(
        model="resnet18",
        transfer=TransferConfig(weights="hf://timm/resnet18.tv_in1k", stage_decay=0.5),
        data=DataConfig(
            dataset="folder:images",
            train_split="train",
            eval_split="val",
            image_size=(224, 224),
            channels=3,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            resize="shorter",
            random_resized_crop=True,
            flip=True,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            nesterov=True,
            weight_decay=1e-4,
            schedule="cosine",
            warmup=epochs(1),
        ),
        batch_size=32,
        length=epochs(20),
        label_smoothing=0.1,
        ema=0.99,
    )
