"""Weights by name, from folders laid out as timm's repositories and as the Hub's cache; no network.

The config is that of timm/resnet18.tv_in1k, with other numbers where a default would hide a fault.
"""

from __future__ import annotations

import hashlib
import json
import sys

import jax
import numpy as np
import pytest
import recipe

import jaxcnn
from jaxcnn.models import create_model
from jaxcnn.weights import WeightsError, describe, from_torch, load, names, to_torch, write

CONFIG = {
    "architecture": "cifar_resnet20_b",
    "num_classes": 3,
    "label_names": ["ant", "bee", "cat"],
    "pretrained_cfg": {
        "tag": "tv_in1k",
        "custom_load": False,
        "input_size": [3, 32, 48],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
        "classifier": "linear",
    },
}
PREPROCESS = jaxcnn.Preprocess(
    (32, 48),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.25, 0.3),
    resize="shorter",
    crop_pct=0.95,
    interpolation="bicubic",
)
MODEL = create_model("cifar_resnet20_b", num_classes=3)
STATE_DICT = {key: recipe.tensor(key, shape) for key, shape in names(MODEL).items()}
MAIN, OTHER = "a" * 40, "b" * 40


def _repository(folder, scale=1.0, config=CONFIG):
    folder.mkdir(parents=True)
    weights = STATE_DICT | {"linear.bias": STATE_DICT["linear.bias"] * np.float32(scale)}
    write(folder / "model.safetensors", weights)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The Hub's cache with one repository in two revisions, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--someone--net.v1"
    for revision, commit, scale in (("main", MAIN, 1.0), ("v2", OTHER, 2.0)):
        _repository(repo / "snapshots" / commit, scale)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / revision).write_text(commit)
    return repo


def _assert_loaded(variables, scale=1.0):
    back = to_torch(variables, MODEL)
    np.testing.assert_array_equal(back["linear.bias"], STATE_DICT["linear.bias"] * scale)
    np.testing.assert_array_equal(back["conv1.weight"], STATE_DICT["conv1.weight"])


def test_a_folder_gives_weights_hash_and_preprocessing(tmp_path):
    folder = _repository(tmp_path / "net")
    found = describe(folder)
    assert found.path == folder / "model.safetensors" and found.config == CONFIG
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert found.preprocess == PREPROCESS
    _assert_loaded(load(folder, MODEL))


def test_a_name_is_found_in_the_cache_without_a_network(cache):
    found = describe("hf://someone/net.v1")
    assert found.source == "hf://someone/net.v1" and found.preprocess == PREPROCESS
    assert found.path == cache / "snapshots" / MAIN / "model.safetensors"
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    _assert_loaded(load("hf://someone/net.v1", MODEL))


def test_revisions_and_commits(cache):
    _assert_loaded(load("hf://someone/net.v1@v2", MODEL), 2.0)
    _assert_loaded(load(f"hf://someone/net.v1@{OTHER}", MODEL), 2.0)
    assert describe("hf://someone/net.v1@v2").path.parent.name == OTHER


def test_another_file_of_the_repository(cache):
    write(cache / "snapshots" / MAIN / "small.npz", STATE_DICT)
    _assert_loaded(load("hf://someone/net.v1:small.npz", MODEL))


def test_the_network_predicts_with_what_came_along(cache):
    network = jaxcnn.load_network("hf://someone/net.v1")
    assert network.preprocess == PREPROCESS and network.class_names == ("ant", "bee", "cat")
    assert network.sha256 == describe("hf://someone/net.v1").sha256
    logits = jax.jit(network.model.apply, static_argnames="train")(
        network.variables, np.zeros((1, 32, 48, 3), np.float32), train=False
    )
    assert logits.shape == (1, 3)


def test_what_is_not_cached_is_one_error_that_names_offline_mode(cache):
    for name in ("hf://someone/other", "hf://someone/net.v1@v3", "hf://someone/net.v1:x.npz"):
        with pytest.raises(WeightsError, match=r"neither in the cache.*HF_HUB_OFFLINE=1"):
            load(name, MODEL)


def test_the_clients_warnings_of_its_tries_are_left_out(cache, monkeypatch, caplog):
    import huggingface_hub

    logger = huggingface_hub.utils.logging.get_logger("huggingface_hub.utils._http")
    real = huggingface_hub.hf_hub_download

    def download(*args, **kwargs):
        logger.warning("Retrying in 8s [Retry 5/5].")
        return real(*args, **kwargs)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(WeightsError, match="neither in the cache"):
        load("hf://someone/other", MODEL)
    assert "Retrying" not in caplog.text
    logger.warning("after the call as before it")
    assert "after the call" in caplog.text


def test_a_repository_that_lacks_the_file_says_how_to_name_another(monkeypatch):
    import huggingface_hub

    def missing(*args, **kwargs):
        raise huggingface_hub.errors.EntryNotFoundError("404")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", missing)
    with pytest.raises(WeightsError, match=r"has no model.safetensors; another file is named as"):
        load("hf://someone/net", MODEL)


def test_a_repository_without_config_has_no_preprocessing(cache, monkeypatch):
    import huggingface_hub

    real = huggingface_hub.hf_hub_download

    def download(repo, filename, **kwargs):
        if filename == "config.json":
            raise huggingface_hub.errors.EntryNotFoundError("404")
        return real(repo, filename, **kwargs)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found = describe("hf://someone/net.v1")
    assert found.preprocess is None and found.config == {}


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"pip install '\.\[hub\]' in the clone"):
        load("hf://someone/net", MODEL)


@pytest.mark.parametrize("name", ["hf://net", "hf:someone/net", "hf://a/b/c", "hf://../net@x y"])
def test_malformed_names_are_refused(name):
    with pytest.raises(WeightsError, match="is no name on the Hub; they look like hf://OWNER/NAME"):
        load(name, MODEL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_mode": "border"}, "crop_mode='border'"),
        ({"interpolation": "lanczos"}, "interpolation='lanczos'"),
        ({"mean": [0.5]}, "malformed"),
        ({"input_size": "big"}, "malformed"),
        ({"std": [0.0, 1, 1]}, "malformed"),
    ],
)
def test_preprocessing_that_cannot_be_followed_is_refused(tmp_path, changes, message):
    config = CONFIG | {"pretrained_cfg": CONFIG["pretrained_cfg"] | changes}
    with pytest.raises(WeightsError, match=message):
        describe(_repository(tmp_path / "net", config=config))


def test_a_config_that_is_no_json_is_refused(tmp_path):
    folder = _repository(tmp_path / "net")
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="is no JSON"):
        describe(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match="holds list, not an object"):
        describe(folder)


def test_weights_of_other_names_still_fit_only_their_network(cache):
    with pytest.raises(WeightsError, match="do not fit"):
        load("hf://someone/net.v1", create_model("cifar_resnet20"))
    assert from_torch(STATE_DICT, MODEL)["params"]["head"]["bias"].shape == (3,)
