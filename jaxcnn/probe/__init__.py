"""Linear probes: what a network's features already tell, and what to train on top of them."""

from jaxcnn.probe.advice import Advice as Advice
from jaxcnn.probe.advice import Depth as Depth
from jaxcnn.probe.advice import advise as advise
from jaxcnn.probe.classifier import Choice as Choice
from jaxcnn.probe.classifier import Classifier as Classifier
from jaxcnn.probe.classifier import cross_validate as cross_validate
from jaxcnn.probe.classifier import fit_classifier as fit_classifier
from jaxcnn.probe.features import Features as Features
from jaxcnn.probe.features import compute_features as compute_features
from jaxcnn.probe.head import check_new_folder as check_new_folder
from jaxcnn.probe.head import save_folder as save_folder
from jaxcnn.probe.head import with_head as with_head
from jaxcnn.probe.recipe import commands as commands
from jaxcnn.probe.recipe import recipe_text as recipe_text
from jaxcnn.probe.run import ProbeResult as ProbeResult
from jaxcnn.probe.run import probe as probe
