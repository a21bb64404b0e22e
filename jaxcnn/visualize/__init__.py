"""Pictures of runs and networks, by matplotlib.

What is shown is computed by one function and drawn by another, so that a page or a notebook can
use the numbers alone.
"""

from __future__ import annotations

from jaxcnn.visualize.cam import CamResult, draw_cam, grad_cam
from jaxcnn.visualize.confusion import draw_confusion
from jaxcnn.visualize.curves import draw_curves, draw_runs
from jaxcnn.visualize.gradient_flow import (
    GradientFlow,
    draw_gradient_flow,
    gradient_flow,
    kernel_norms,
)
from jaxcnn.visualize.kernels import (
    FilterMatch,
    FirstLayer,
    draw_kernels,
    first_layer,
    nearest_filter,
)
from jaxcnn.visualize.maps import FeatureMaps, draw_maps, feature_maps
from jaxcnn.visualize.maximize import (
    Ascent,
    MaximizeResult,
    draw_maximized,
    draw_units,
    maximize,
    maximize_stages,
)
from jaxcnn.visualize.mistakes import draw_mistakes
from jaxcnn.visualize.occlusion import OcclusionResult, draw_occlusion, occlusion
from jaxcnn.visualize.pictures import KINDS, Subject, draw_pictures
from jaxcnn.visualize.program import NotApplicable, Program
from jaxcnn.visualize.receptive import UnitView, draw_views, strongest_units, unit_views
from jaxcnn.visualize.reliability import draw_reliability
from jaxcnn.visualize.robustness import draw_robustness
from jaxcnn.visualize.saliency import (
    GradientResult,
    GuidedResult,
    draw_guided,
    draw_saliency,
    guided_backprop,
    guided_grad_cam,
    saliency,
)
from jaxcnn.visualize.sanity import (
    RandomizationResult,
    draw_randomization,
    randomization_check,
    rank_correlation,
)

__all__ = [
    "KINDS",
    "Ascent",
    "CamResult",
    "FeatureMaps",
    "FilterMatch",
    "FirstLayer",
    "GradientFlow",
    "GradientResult",
    "GuidedResult",
    "MaximizeResult",
    "NotApplicable",
    "OcclusionResult",
    "Program",
    "RandomizationResult",
    "Subject",
    "UnitView",
    "draw_cam",
    "draw_confusion",
    "draw_curves",
    "draw_gradient_flow",
    "draw_guided",
    "draw_kernels",
    "draw_maps",
    "draw_maximized",
    "draw_mistakes",
    "draw_occlusion",
    "draw_pictures",
    "draw_randomization",
    "draw_reliability",
    "draw_robustness",
    "draw_runs",
    "draw_saliency",
    "draw_units",
    "draw_views",
    "feature_maps",
    "first_layer",
    "grad_cam",
    "gradient_flow",
    "guided_backprop",
    "guided_grad_cam",
    "kernel_norms",
    "maximize",
    "maximize_stages",
    "nearest_filter",
    "occlusion",
    "randomization_check",
    "rank_correlation",
    "saliency",
    "strongest_units",
    "unit_views",
]
