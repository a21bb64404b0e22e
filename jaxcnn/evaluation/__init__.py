"""Evaluation with exact counts, and what to say about them."""

from jaxcnn.evaluation.calibration import Calibration as Calibration
from jaxcnn.evaluation.calibration import calibration as calibration
from jaxcnn.evaluation.exact import EvaluationSetup as EvaluationSetup
from jaxcnn.evaluation.exact import Evaluator as Evaluator
from jaxcnn.evaluation.exact import InterruptedEvaluation as InterruptedEvaluation
from jaxcnn.evaluation.exact import Scoring as Scoring
from jaxcnn.evaluation.exact import evaluate as evaluate
from jaxcnn.evaluation.exact import predict_step as predict_step
from jaxcnn.evaluation.intervals import mcnemar_exact as mcnemar_exact
from jaxcnn.evaluation.intervals import tango_interval as tango_interval
from jaxcnn.evaluation.intervals import wilson_interval as wilson_interval
from jaxcnn.evaluation.metrics import ClassScores as ClassScores
from jaxcnn.evaluation.metrics import Evaluation as Evaluation
