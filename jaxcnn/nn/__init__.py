"""Blocks that two or more families share."""

from jaxcnn.nn.conv import Conv as Conv
from jaxcnn.nn.conv import conv2d as conv2d
from jaxcnn.nn.forms import fast_forms as fast_forms
from jaxcnn.nn.norm import BatchNorm as BatchNorm
from jaxcnn.nn.norm import NormConfig as NormConfig
from jaxcnn.nn.pool import adaptive_avg_pool as adaptive_avg_pool
from jaxcnn.nn.pool import avg_pool as avg_pool
from jaxcnn.nn.pool import global_avg_pool as global_avg_pool
from jaxcnn.nn.pool import max_pool as max_pool
from jaxcnn.nn.remat import call_block as call_block
from jaxcnn.nn.residual import BasicBlock as BasicBlock
from jaxcnn.nn.residual import Bottleneck as Bottleneck
from jaxcnn.nn.residual import Shortcut as Shortcut
from jaxcnn.nn.residual import conv_norm as conv_norm
from jaxcnn.nn.response_norm import local_response_norm as local_response_norm
