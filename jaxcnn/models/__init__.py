"""The networks: one file per family, joined by name in the registry."""

from jaxcnn.models.registry import ModelInfo as ModelInfo
from jaxcnn.models.registry import create_model as create_model
from jaxcnn.models.registry import list_models as list_models
from jaxcnn.models.registry import model_info as model_info
from jaxcnn.models.taps import Tap as Tap
from jaxcnn.models.taps import features as features
