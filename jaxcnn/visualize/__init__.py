"""Pictures of runs and networks, by matplotlib."""

from jaxcnn.visualize.confusion import draw_confusion as draw_confusion
from jaxcnn.visualize.curves import draw_curves as draw_curves
from jaxcnn.visualize.mistakes import draw_mistakes as draw_mistakes
