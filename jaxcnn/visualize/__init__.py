"""Pictures of runs and networks, by matplotlib.

What is shown is computed by one function and drawn by another, so that a page or a notebook can
use the numbers alone.
"""

from __future__ import annotations

from jaxcnn.visualize.cam import CamResult, grad_cam
from jaxcnn.visualize.confusion import draw_confusion
from jaxcnn.visualize.curves import draw_curves
from jaxcnn.visualize.kernels import FilterMatch, nearest_filter
from jaxcnn.visualize.mistakes import draw_mistakes
from jaxcnn.visualize.program import Program
from jaxcnn.visualize.reliability import draw_reliability
from jaxcnn.visualize.robustness import draw_robustness

__all__ = [
    "CamResult",
    "FilterMatch",
    "Program",
    "draw_confusion",
    "draw_curves",
    "draw_mistakes",
    "draw_reliability",
    "draw_robustness",
    "grad_cam",
    "nearest_filter",
]
