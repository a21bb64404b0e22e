"""Weights in and out: PyTorch's state dicts, safetensors and npz; never a pickle."""

from jaxcnn.weights.audit import Audit as Audit
from jaxcnn.weights.audit import audit as audit
from jaxcnn.weights.audit import record as record
from jaxcnn.weights.convert import from_torch as from_torch
from jaxcnn.weights.convert import names as names
from jaxcnn.weights.convert import to_torch as to_torch
from jaxcnn.weights.errors import WeightsError as WeightsError
from jaxcnn.weights.files import decided_fields as decided_fields
from jaxcnn.weights.files import load as load
from jaxcnn.weights.files import read as read
from jaxcnn.weights.files import save as save
from jaxcnn.weights.files import write as write
from jaxcnn.weights.hub import WeightsFile as WeightsFile
from jaxcnn.weights.hub import describe as describe
