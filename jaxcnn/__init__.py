"""jaxcnn: the classic convolutional networks for JAX.

Importing this touches no device and reads no data; the rooms that need more load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from jaxcnn.models import ModelInfo as ModelInfo
from jaxcnn.models import create_model as create_model
from jaxcnn.models import features as features
from jaxcnn.models import list_models as list_models
from jaxcnn.models import model_info as model_info
from jaxcnn.preprocess import Preprocess as Preprocess

if TYPE_CHECKING:
    from jaxcnn import analysis as analysis
    from jaxcnn import benchmark as benchmark
    from jaxcnn import data as data
    from jaxcnn import evaluation as evaluation
    from jaxcnn import explore as explore
    from jaxcnn import filters as filters
    from jaxcnn import models as models
    from jaxcnn import nn as nn
    from jaxcnn import parallel as parallel
    from jaxcnn import probe as probe
    from jaxcnn import train as train
    from jaxcnn import transfer as transfer
    from jaxcnn import visualize as visualize
    from jaxcnn import weights as weights
    from jaxcnn.analysis import summarize as summarize
    from jaxcnn.evaluation import evaluate as evaluate
    from jaxcnn.train import Network as Network
    from jaxcnn.train import load_network as load_network

__version__ = "0.1.0"

__all__ = [
    "ModelInfo",
    "Network",
    "Preprocess",
    "analysis",
    "benchmark",
    "create_model",
    "data",
    "evaluate",
    "evaluation",
    "explore",
    "features",
    "filters",
    "list_models",
    "load_network",
    "model_info",
    "models",
    "nn",
    "parallel",
    "probe",
    "summarize",
    "train",
    "transfer",
    "visualize",
    "weights",
]

_ROOMS = (
    "analysis",
    "benchmark",
    "data",
    "evaluation",
    "explore",
    "filters",
    "models",
    "nn",
    "parallel",
    "probe",
    "train",
    "transfer",
    "visualize",
    "weights",
)
_FUNCTIONS = {
    "Network": "train",
    "evaluate": "evaluation",
    "load_network": "train",
    "summarize": "analysis",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"jaxcnn.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"jaxcnn.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'jaxcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
