"""Throughput of a network's steps, alone or in turn with a peer on the same machine."""

from jaxcnn.benchmark.case import Case as Case
from jaxcnn.benchmark.record import environment as environment
from jaxcnn.benchmark.turns import measure as measure
