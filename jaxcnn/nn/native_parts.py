"""A compiled function in a program for several devices.

XLA cannot look into a custom call, but it divides one along axes in front that operands and results
share (as JAX's own linear algebra calls are divided). So the images are cut into as many parts as
there are devices, each part has a kernel of its own, and the sum over parts is left to XLA: under
`jit` over a mesh each device gets the part that it holds anyway. What the program's arrays are
divided by beside the images, it gathers.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jaxlib.mlir.dialects import sdy

# Whose second operand is a kernel, the same for all images; and whose result is a sum over them.
_WITH_KERNEL = ("convolve", "image_gradient")
_SUMMED = ("kernel_gradient",)


def call_in_parts(
    name: str,
    shape: tuple[int, ...],
    first: jax.Array,
    second: jax.Array,
    window: tuple[int, ...],
    parts: int,
) -> jax.Array:
    """`native.call` of each of as many parts of the images; `parts` divides their number."""

    def cut(size: tuple[int, ...]) -> tuple[int, ...]:
        return (parts, size[0] // parts, *size[1:])

    first = first.reshape(cut(first.shape))
    if name in _WITH_KERNEL:
        second = jnp.broadcast_to(second, (parts, *second.shape))
    else:
        second = second.reshape(cut(second.shape))
    result = (parts, *shape) if name in _SUMMED else cut(shape)
    out = _call.bind(first, second, target=f"jaxcnn_{name}", shape=result, window=window)
    return out.sum(0) if name in _SUMMED else out.reshape(shape)


def _lower(
    ctx: Any,
    *arrays: Any,
    target: str,
    shape: tuple[int, ...],
    window: tuple[int, ...],
) -> Any:
    attributes = {"mhlo.frontend_attributes": mlir.ir_attribute({"num_batch_dims": "1"})}
    if getattr(jax.config, "jax_use_shardy_partitioner", True):
        shapes = [a.shape for a in ctx.avals_in]
        attributes["sdy.sharding_rule"] = _sharding_rule(shapes, shape)
    lower = jax.ffi.ffi_lowering(target, extra_attributes=attributes)
    return lower(ctx, *arrays, window=np.asarray(window, np.int64))


def _sharding_rule(operands: list[tuple[int, ...]], result: tuple[int, ...]) -> Any:
    """Shardy's rule for: axis 0 is common, all others are whole on each device."""
    sizes, arrays = [result[0]], []
    for shape in (*operands, result):
        own = range(len(sizes), len(sizes) + len(shape) - 1)
        axes = [sdy.DimMappingAttr.get(factor_indices=[number]) for number in (0, *own)]
        arrays.append(sdy.TensorMappingAttr.get(dim_mappings=axes))
        sizes += shape[1:]
    return sdy.OpShardingRuleAttr.get(
        factor_sizes=sizes,
        operand_mappings=arrays[:-1],
        result_mappings=arrays[-1:],
        is_custom=True,
        reduction_factors=[],
        need_replication_factors=list(range(1, len(sizes))),
        permutation_factors=[],
    )


_call = Primitive("native_call_in_parts")
_call.def_abstract_eval(lambda *arrays, shape, **_: jax.core.ShapedArray(shape, arrays[0].dtype))
mlir.register_lowering(_call, _lower)
