"""Evaluation with exact counts."""

from jaxcnn.evaluation.exact import Evaluator as Evaluator
from jaxcnn.evaluation.exact import InterruptedEvaluation as InterruptedEvaluation
from jaxcnn.evaluation.exact import evaluate as evaluate
from jaxcnn.evaluation.exact import predict_step as predict_step
from jaxcnn.evaluation.metrics import Evaluation as Evaluation
from jaxcnn.evaluation.metrics import wilson_interval as wilson_interval
