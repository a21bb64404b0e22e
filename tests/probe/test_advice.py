"""The advice: its four cases, and the config that it writes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import probe
from jaxcnn.models import create_model
from jaxcnn.preprocess import Preprocess
from jaxcnn.probe import advice as rules
from jaxcnn.train import TrainConfig, TransferConfig

SIZE = Preprocess((8, 8), 1, mean=(0.5,), std=(0.5,), resize="none")


class Bars:
    """Two classes told apart by the direction of stripes of random phase."""

    name, split, fingerprint, class_names = "bars", "train", "x", ("flat", "steep")

    def __init__(self, number: int, labels: np.ndarray | None = None) -> None:
        rng = np.random.default_rng(0)
        self._labels = np.arange(number) % 2 if labels is None else labels
        stripes = np.sin(np.arange(8) * 1.6 + rng.uniform(0, 6.3, (number, 1)))
        flat = np.broadcast_to(stripes[:, :, None], (number, 8, 8))
        images = np.where(self._labels[:, None, None] == 0, flat, flat.swapaxes(1, 2))
        images = 127 + 100 * images + rng.normal(0, 8, images.shape)
        self._images = images.clip(0, 255).astype(np.uint8)[..., None]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int):
        from jaxcnn.data import Example

        return Example(self._images[index], int(self._labels[index]), str(index))


def test_separable_features_and_little_data_call_for_a_linear_probe():
    model = create_model("small_cnn", num_classes=2)
    variables = model.init(jax.random.key(1), jnp.zeros((1, 8, 8, 1)), train=False)
    found = probe.advise(model, variables, Bars(80), SIZE, weights="w", checkpoint="120")
    assert [d.tap for d in found.depths] == ["stage1", "stage2", "last"]
    assert [d.channels for d in found.depths] == [32, 64, 128]
    assert (found.num_examples, found.fewest, found.chance) == (80, 40, 0.5)
    assert not found.enough and found.best.accuracy > 0.9
    best, untrained = found.best.accuracy, max(d.random for d in found.depths)
    assert found.gain == pytest.approx((best - untrained) / max(1 - untrained, 1e-9))
    assert found.similar is (found.gain >= 0.5)
    assert (found.transfer.weights, found.transfer.checkpoint) == ("w", "120")


def test_long_tails_and_many_classes_are_sampled_so_that_folds_exist(monkeypatch):
    labels = np.repeat(np.arange(5), [900, 60, 8, 3, 1])
    source = Bars(len(labels), labels)
    source.class_names = tuple("abcde")
    found = rules._sample(source, labels, 40, seed=0)
    # Five of each come first, or all that there are; the only example of a class is left out.
    counts = np.bincount(found.labels(), minlength=5)
    assert counts.tolist() == [27, 5, 5, 3, 0]
    assert np.bincount(rules._sample(source, labels, 8, seed=0).labels()).tolist() == [2, 2, 2, 2]
    with pytest.raises(ValueError, match=r"most=7 .* 4 classes.* at least 8 \(--most\)"):
        rules._sample(source, labels, 7, seed=0)
    probed = []

    def scores(model, variables, source, *rest):
        probed.append(np.bincount(source.labels(), minlength=5).tolist())
        return {"last": (64, 0.9, 0.01)}

    monkeypatch.setattr(rules, "_scores", scores)
    model = create_model("mlp", num_classes=5)
    variables = model.init(jax.random.key(1), jnp.zeros((1, 8, 8, 1)), train=False)
    advice = probe.advise(model, variables, source, SIZE, weights="w", most=40)
    assert (advice.num_examples, advice.fewest, advice.enough) == (972, 1, False)
    assert probed == [counts.tolist()] * 2


@pytest.mark.parametrize(
    ("similar", "enough", "regime"),
    [
        (True, False, "linear_probe"),
        (True, True, "all"),
        (False, False, "top_layers"),
        (False, True, "all"),
    ],
)
def test_each_case_of_the_table_gives_a_config_that_trains_so(similar, enough, regime, tmp_path):
    transfer, reason = rules._choose(similar, enough, "net.safetensors", 2)
    transfer = dataclasses.replace(transfer, checkpoint="best")
    assert transfer.regime == regime and reason.endswith(".")
    depth = probe.Depth("last", 64, 0.9, 0.01, 0.5)
    advice = probe.Advice(500, 20, (depth,), 0.1, 0.8, similar, enough, transfer, reason)
    data = {"dataset": "digits", "train_split": "a", "eval_split": "b", "data_dir": "/d d"}
    text = probe.recipe_text(advice, "cifar_resnet20", SIZE, **data)
    scope: dict = {}
    exec(text, scope)
    config = scope["config"]()
    assert isinstance(config, TrainConfig) and config.transfer == transfer
    assert config.data.image_size == (8, 8) and config.data.mean == (0.5,)
    assert {name: getattr(config.data, name) for name in data} == data
    words = " ".join(probe.commands(advice, "cifar_resnet20", **data))
    assert "--transfer.weights net.safetensors" in words
    assert "--transfer.checkpoint best" in words
    assert ("--checkpoint best" in words) is (regime == "linear_probe")
    assert ("scripts/probe.py" in words) is (regime == "linear_probe")
    assert ("--data-dir '/d d'" in words) is (regime == "linear_probe")
    if transfer.stage_decay != 1:
        assert "--transfer.stage-decay 0.5" in words
    assert dataclasses.asdict(advice)["transfer"]["weights"] == "net.safetensors"
    assert TransferConfig(**dataclasses.asdict(advice)["transfer"]) == transfer
