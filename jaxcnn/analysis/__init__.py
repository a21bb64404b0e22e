"""Know a network before running it: layer arithmetic, summaries, receptive fields, memory."""

from __future__ import annotations

from jaxcnn.analysis.arithmetic import (
    LayerFacts,
    conv_layer,
    dense_layer,
    output_size,
    pool_layer,
)
from jaxcnn.analysis.compare import Comparison, compare
from jaxcnn.analysis.memory import (
    CompiledMemory,
    MemoryPlan,
    compiled_memory,
    device_bytes,
    largest_batch,
    memory_plan,
    saved_bytes,
)
from jaxcnn.analysis.receptive_field import Box, ReceptiveFields, TapField, receptive_field
from jaxcnn.analysis.rows import Row
from jaxcnn.analysis.step_plan import Limit, Plan, plan
from jaxcnn.analysis.summary import Summary, summarize
from jaxcnn.analysis.trace import TraceError

__all__ = [
    "Box",
    "Comparison",
    "CompiledMemory",
    "LayerFacts",
    "Limit",
    "MemoryPlan",
    "Plan",
    "ReceptiveFields",
    "Row",
    "Summary",
    "TapField",
    "TraceError",
    "compare",
    "compiled_memory",
    "conv_layer",
    "dense_layer",
    "device_bytes",
    "largest_batch",
    "memory_plan",
    "output_size",
    "plan",
    "pool_layer",
    "receptive_field",
    "saved_bytes",
    "summarize",
]
