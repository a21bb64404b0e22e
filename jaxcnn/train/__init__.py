"""Training: a typed config in, a run's folder out."""

from jaxcnn.train.checkpoint import Checkpoints as Checkpoints
from jaxcnn.train.config import IMAGENET as IMAGENET
from jaxcnn.train.config import DataConfig as DataConfig
from jaxcnn.train.config import OptimizerConfig as OptimizerConfig
from jaxcnn.train.config import TrainConfig as TrainConfig
from jaxcnn.train.duration import Duration as Duration
from jaxcnn.train.duration import epochs as epochs
from jaxcnn.train.duration import examples as examples
from jaxcnn.train.duration import steps as steps
from jaxcnn.train.load import Network as Network
from jaxcnn.train.load import load_network as load_network
from jaxcnn.train.load import load_run as load_run
from jaxcnn.train.load import with_class_names as with_class_names
from jaxcnn.train.loop import RunResult as RunResult
from jaxcnn.train.loop import fit as fit
from jaxcnn.train.meter import NonFiniteLoss as NonFiniteLoss
from jaxcnn.train.run import ConfigMismatch as ConfigMismatch
from jaxcnn.train.run_plan import RunPlan as RunPlan
from jaxcnn.train.run_plan import plan as plan
from jaxcnn.train.state import TrainState as TrainState
from jaxcnn.train.step import Task as Task
from jaxcnn.train.step import train_step as train_step
from jaxcnn.transfer import TransferConfig as TransferConfig
