"""The text of a config that trains as an advice says."""

from __future__ import annotations

import dataclasses
import os
import shlex

from jaxcnn.preprocess import Preprocess
from jaxcnn.probe.advice import Advice
from jaxcnn.transfer import TransferConfig

_TEXT = '''"""{reason}"""

from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, TransferConfig, epochs


def config() -> TrainConfig:
    return TrainConfig(
        model={model!r},
        transfer=TransferConfig({transfer}),
        data=DataConfig(
            dataset={dataset!r},
            train_split={train_split!r},
            eval_split={eval_split!r},
            data_dir={data_dir!r},
            image_size={size!r},
            channels={channels!r},
            mean={mean!r},
            std={std!r},
            resize={resize!r},
            crop_pct={crop_pct!r},
            interpolation={interpolation!r},
        ),
        optimizer=OptimizerConfig(
            learning_rate={rate}, nesterov=True, weight_decay=5e-4, schedule="cosine"
        ),
        batch_size={batch_size},
        length=epochs({epochs}),
    )
'''


def recipe_text(
    advice: Advice,
    model: str,
    preprocess: Preprocess,
    *,
    dataset: str,
    train_split: str,
    eval_split: str,
    data_dir: str | None = None,
) -> str:
    """A Python file with `config()`, as `scripts/train.py` takes it.

    Batches of at most 32, and epochs for about 500 steps, at least 8 and at most 30: a start, not
    a searched optimum. Augmentation is left to whoever knows the images: a mirrored digit is none.
    """
    batch_size = min(32, advice.num_examples)
    return _TEXT.format(
        reason=advice.reason.replace('"', "'"),
        model=model,
        transfer=_fields(advice.transfer),
        dataset=dataset,
        train_split=train_split,
        eval_split=eval_split,
        data_dir=data_dir,
        size=preprocess.image_size,
        rate=0.05 if advice.transfer.regime == "linear_probe" else 0.02,
        batch_size=batch_size,
        epochs=max(8, min(30, 500 * batch_size // advice.num_examples)),
        **{
            name: getattr(preprocess, name)
            for name in ("channels", "mean", "std", "resize", "crop_pct", "interpolation")
        },
    )


def commands(
    advice: Advice,
    model: str,
    *,
    dataset: str,
    train_split: str,
    eval_split: str,
    data_dir: str | None = None,
    config: str | os.PathLike[str] | None = None,
) -> list[str]:
    """What to type next; with `config`, the file that `recipe_text` was written to."""
    found = []
    if advice.transfer.regime == "linear_probe":
        given = [str(advice.transfer.weights), "--model", model, "--dataset", dataset]
        if advice.transfer.checkpoint != "last":
            given += ["--checkpoint", advice.transfer.checkpoint]
        given += ["--train-split", train_split, "--eval-split", eval_split]
        given += ["--data-dir", data_dir] if data_dir else []
        found.append(f"python scripts/probe.py {shlex.join(given)} --output NEW_FOLDER")
    if config is not None:
        found.append(f"python scripts/train.py {shlex.quote(os.fspath(config))}")
    else:
        settings = {
            f"--transfer.{field.name.replace('_', '-')}": getattr(advice.transfer, field.name)
            for field in _changed(advice.transfer)
        }
        words = " ".join(f"{name} {shlex.quote(str(value))}" for name, value in settings.items())
        found.append(f"python scripts/train.py CONFIG {words}    (--config FILE.py writes one)")
    return found


def _changed(config: TransferConfig) -> list[dataclasses.Field]:
    return [f for f in dataclasses.fields(config) if getattr(config, f.name) != f.default]


def _fields(config: TransferConfig) -> str:
    """The fields that differ from the defaults, as arguments."""
    return ", ".join(f"{f.name}={getattr(config, f.name)!r}" for f in _changed(config))
