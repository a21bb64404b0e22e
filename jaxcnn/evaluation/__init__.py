"""Evaluation with exact counts, and what to say about them."""

from jaxcnn.evaluation.calibration import Calibration as Calibration
from jaxcnn.evaluation.calibration import calibration as calibration
from jaxcnn.evaluation.comparison import Comparison as Comparison
from jaxcnn.evaluation.comparison import compare as compare
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
from jaxcnn.evaluation.outputs import Outputs as Outputs
from jaxcnn.evaluation.predictions import Predictions as Predictions
from jaxcnn.evaluation.predictions import read_predictions as read_predictions
from jaxcnn.evaluation.predictions import write_predictions as write_predictions
from jaxcnn.evaluation.report import Entry as Entry
from jaxcnn.evaluation.report import make_report as make_report
from jaxcnn.evaluation.robustness import Robustness as Robustness
from jaxcnn.evaluation.robustness import measure_robustness as measure_robustness
from jaxcnn.evaluation.table import Options as Options
from jaxcnn.evaluation.table import evaluate_network as evaluate_network
from jaxcnn.evaluation.table import prepare_network as prepare_network
