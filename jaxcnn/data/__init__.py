"""Sources of labelled images, their decoding, and the loaders for training and evaluation."""

from __future__ import annotations

from jaxcnn.data.augment import Augment as Augment
from jaxcnn.data.augment import augment_batch as augment_batch
from jaxcnn.data.augment import normalize as normalize
from jaxcnn.data.augment import replay as replay
from jaxcnn.data.checks import check_source as check_source
from jaxcnn.data.checks import default_preprocess as default_preprocess
from jaxcnn.data.decode import UndecodableImage as UndecodableImage
from jaxcnn.data.decode import decode as decode
from jaxcnn.data.errors import DataError as DataError
from jaxcnn.data.loader import EvalLoader as EvalLoader
from jaxcnn.data.loader import TrainLoader as TrainLoader
from jaxcnn.data.loader import load_all as load_all
from jaxcnn.data.order import Order as Order
from jaxcnn.data.source import Example as Example
from jaxcnn.data.source import Source as Source
from jaxcnn.data.source import Subset as Subset
from jaxcnn.data.source import open_source as open_source
from jaxcnn.data.source import read_labels as read_labels
from jaxcnn.data.source import sample as sample
from jaxcnn.data.standard import STANDARD_SETS as STANDARD_SETS
from jaxcnn.data.standard import EvalSource as EvalSource
from jaxcnn.data.standard import match_classes as match_classes
from jaxcnn.data.standard import open_eval_source as open_eval_source
from jaxcnn.data.transforms import RandomResizedCrop as RandomResizedCrop
from jaxcnn.data.transforms import prepare_image as prepare_image
