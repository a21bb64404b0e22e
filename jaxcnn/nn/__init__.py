"""Blocks that two or more families share."""

from jaxcnn.nn.conv import Conv as Conv
from jaxcnn.nn.conv import conv2d as conv2d
from jaxcnn.nn.norm import BatchNorm as BatchNorm
from jaxcnn.nn.norm import NormConfig as NormConfig
from jaxcnn.nn.pool import avg_pool as avg_pool
from jaxcnn.nn.pool import global_avg_pool as global_avg_pool
from jaxcnn.nn.pool import max_pool as max_pool
