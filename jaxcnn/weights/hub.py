"""Weights by name: from the Hugging Face Hub, or a folder that is laid out like one of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxcnn.preprocess import Preprocess
from jaxcnn.weights.errors import WeightsError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_NAME = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+?))?(:(?P<file>[\w./-]+))?"
)
_RESIZES = {"center": "shorter", "squash": "squash"}
_MAX_CONFIG = 2**20


class MissingEntry(WeightsError):
    """A repository that lacks a file."""


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A file of weights and what is known of it.

    Attributes:
      source: the name that it was asked by.
      path: where it lies.
      sha256: of the file, in hexadecimal.
      preprocess: how its images were prepared, if a `config.json` lies beside it.
      config: that file's contents, or empty.
    """

    source: str
    path: pathlib.Path
    sha256: str
    preprocess: Preprocess | None
    config: Mapping[str, Any]


def describe(source: str | os.PathLike[str], *, cache_dir: str | None = None) -> WeightsFile:
    """A file of weights with its SHA-256 and preprocessing.

    Args:
      source: a file; a folder with `model.safetensors` and maybe `config.json`, as timm's
        repositories are laid out; or `hf://OWNER/NAME`, also `hf://OWNER/NAME@REVISION` and
        `...:FILE`. The last needs the `hub` extra, and respects its cache and
        `HF_HUB_OFFLINE=1`.
      cache_dir: of the Hub's files, if not the usual one.

    Raises:
      WeightsError: there is no such file, or its `config.json` says what we cannot do.
    """
    path = locate(source, cache_dir=cache_dir)
    config_path = _config_beside(source, path, cache_dir)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = _read_config(config_path) if config_path else {}
    preprocess = preprocess_of(config, str(config_path)) if config else None
    return WeightsFile(str(source), path, digest, preprocess, config)


def locate(source: str | os.PathLike[str], *, cache_dir: str | None = None) -> pathlib.Path:
    """The path of the weights that `describe` describes; downloads them if they come by name."""
    name = os.fspath(source)
    if name.startswith("hf:"):
        match = _parse(name)
        return _download(match, match["file"] or WEIGHTS, cache_dir)
    path = pathlib.Path(name)
    if path.is_dir():
        path = path / WEIGHTS
    if not path.is_file():
        raise WeightsError(
            f"{path} is no file; give a .safetensors or .npz file, a folder with {WEIGHTS}, or "
            "hf://OWNER/NAME."
        )
    return path


def _config_beside(
    source: str | os.PathLike[str], path: pathlib.Path, cache_dir: str | None
) -> pathlib.Path | None:
    name = os.fspath(source)
    if not name.startswith("hf:"):
        config = path.parent / CONFIG
        return config if path.name == WEIGHTS and config.is_file() else None
    try:
        return _download(_parse(name), CONFIG, cache_dir)
    except MissingEntry:
        return None


def _parse(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise WeightsError(f"{name!r} is no name on the Hub; they look like hf://OWNER/NAME.")
    return match


def _download(match: re.Match[str], filename: str, cache_dir: str | None) -> pathlib.Path:
    """Raises MissingEntry where the repository is known to lack the file."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise WeightsError(
            "Names that start with hf:// need huggingface_hub: pip install '.[hub]' in the clone."
        ) from error
    try:
        with _without_warnings():
            path = huggingface_hub.hf_hub_download(
                match["repo"], filename, revision=match["revision"], cache_dir=cache_dir
            )
    except (errors.HfHubHTTPError, errors.EntryNotFoundError, OSError, ValueError) as error:
        # What only the cache lacks is an EntryNotFoundError too.
        known = isinstance(error, errors.EntryNotFoundError)
        if known and not isinstance(error, errors.LocalEntryNotFoundError):
            raise MissingEntry(
                f"{match[0]} has no {filename}; another file is named as hf://OWNER/NAME:FILE. "
                "Only safetensors and npz are read."
            ) from error
        raise WeightsError(
            f"{match[0]}: {filename} is neither in the cache nor to be had. Without a network or "
            f"with HF_HUB_OFFLINE=1 only cached files are found. ({error})"
        ) from error
    return pathlib.Path(path)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Without a network the Hub's client warns of each of its tries; our error says it once."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_CONFIG:
        raise WeightsError(f"{path} has more than {_MAX_CONFIG:,} bytes: no config of weights.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds {type(config).__name__}, not an object.")
    return config


def preprocess_of(config: Mapping[str, Any], where: str = CONFIG) -> Preprocess | None:
    """The preprocessing in a timm `config.json`; None if it tells of none.

    Raises:
      WeightsError: it asks for something else than we can do, or is malformed.
    """
    fields = config.get("pretrained_cfg", config)
    if not isinstance(fields, Mapping) or "input_size" not in fields:
        return None
    crop, interpolation = fields.get("crop_mode", "center"), fields.get("interpolation", "bilinear")
    if crop not in _RESIZES or interpolation not in ("bilinear", "bicubic"):
        raise WeightsError(
            f"{where}: crop_mode={crop!r} with interpolation={interpolation!r} is not supported; "
            f"crop modes are {', '.join(_RESIZES)}, filters bilinear and bicubic."
        )
    try:
        channels, height, width = (int(n) for n in fields["input_size"])
        return Preprocess(
            image_size=(height, width),
            channels=channels,
            mean=tuple(float(x) for x in fields["mean"]),
            std=tuple(float(x) for x in fields["std"]),
            resize=_RESIZES[crop],  # type: ignore[arg-type]
            crop_pct=float(fields.get("crop_pct") or 0.875),
            interpolation=interpolation,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{where}: the preprocessing is malformed: {error!r}") from error
