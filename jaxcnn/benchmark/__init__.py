"""Throughput of a network's steps and of its input, alone or in turn with a peer on one machine."""

from jaxcnn.benchmark.case import Case as Case
from jaxcnn.benchmark.feeding import InputCase as InputCase
from jaxcnn.benchmark.record import environment as environment
from jaxcnn.benchmark.turns import measure as measure
