"""Operations in two forms: the plain one, and one that is faster on one platform.

A `Form` is a JAX primitive with a plain implementation for every platform and a fast one for CPUs.
Which of the two is compiled is known only when a program is lowered for its devices, so a program
traced on a machine with a GPU still gets the right one for the device it runs on, and its trace
holds one named operation whatever the platform. Differentiation and batching are those of the
plain implementation unless an operation says better.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

# Part of jit's cache key: a change is seen by functions that were compiled before.
_switch = jax.make_user_context(default_value=True)


def fast_forms(enabled: bool) -> contextlib.AbstractContextManager[None]:
    """Within it, convolution and pooling are traced in their fast (default) or plain forms.

    Both give the same values within float32 rounding. With `fast_forms(False)` a network's trace
    holds nothing but JAX's own operations, which a tool that reads traces may need. A function
    under `jit` is traced again where the setting differs from the one it was compiled with.
    """
    return _switch(bool(enabled))


def fast_forms_enabled(*arrays: jax.Array) -> bool:
    """Whether operations on these arrays are traced in their fast forms.

    Arrays whose types name axes of a mesh (explicit sharding, `shard_map` with its check) get the
    plain forms: only JAX's own operations carry such types on.
    """
    return bool(_switch.value) and not any(_names_an_axis(jax.typeof(a)) for a in arrays)


def _names_an_axis(aval: Any) -> bool:
    spec = getattr(getattr(aval, "sharding", None), "spec", ())
    # jax 0.10 keeps the axes over which a shard_map's value varies in another place than 0.11.
    varying = getattr(getattr(aval, "manual_axis_type", aval), "varying", ())
    varying = varying or getattr(aval, "vma", ())
    return bool(varying) or any(axis is not None for axis in spec)


def _parts(context: Any, images: int) -> int:
    """In how many parts a compiled call on so many images is cut; 0: such a call is not for it.

    `context` is that in which jit or a map lowers a program. What `pmap` and `shard_map` lower is
    one device's program already. Under `jit` over a mesh there is a part for each device; where
    that does not divide the images, as many as do.
    """
    manual = getattr(context, "manual_axes", ())
    if manual:
        # With axes left to the compiler XLA would have to cut a call that is cut already.
        return int(set(manual) == set(context.mesh.axis_names))
    devices = context.num_devices if hasattr(context, "num_devices") else context.mesh.size
    parts = math.gcd(devices, images)
    return 0 if parts == 1 < devices else parts


class Form:
    """One operation, plain and fast.

    Args:
      name: of the primitive, as traces show it.
      plain: `(*arrays, **params) -> array` by JAX's own operations.
      fast: the same on CPUs; may look at shapes and fall back on `plain`.
      opaque: the same with compiled functions, which XLA cannot look into, where a CPU program's
        images can be cut for its devices: along the first axis of the first array, into as many
        as its parameter `parts` says. `fast` if None.
    """

    def __init__(
        self,
        name: str,
        plain: Callable[..., jax.Array],
        fast: Callable[..., jax.Array],
        opaque: Callable[..., jax.Array] | None = None,
    ) -> None:
        self.name, self.plain = name, plain
        self.primitive = Primitive(name)
        self.primitive.def_impl(self._run)
        self.primitive.def_abstract_eval(self._shape)
        ad.primitive_jvps[self.primitive] = self._plain_jvp
        batching.primitive_batchers[self.primitive] = self._plain_batch
        mlir.register_lowering(self.primitive, mlir.lower_fun(plain, multiple_results=False))

        def on_cpu(ctx: Any, *arrays: Any, **params: Any) -> Any:
            form = fast
            parts = _parts(ctx.module_context.axis_context, ctx.avals_in[0].shape[0])
            if opaque and parts:
                form = functools.partial(opaque, parts=parts)
            return mlir.lower_fun(form, multiple_results=False)(ctx, *arrays, **params)

        mlir.register_lowering(self.primitive, on_cpu, platform="cpu")

    def __call__(self, *arrays: jax.Array, **params: Any) -> jax.Array:
        return self.primitive.bind(*arrays, **params)

    def derived(self, tangent: Callable[..., jax.Array]) -> None:
        """Declares the derivative in the first argument, the others being piecewise constant.

        `tangent(t, *arrays, **params)` is the output's tangent, `t` the first argument's.
        """

        def jvp(primals: Any, tangents: Any, **params: Any) -> tuple[Any, Any]:
            out = self(*primals, **params)
            if type(tangents[0]) is ad.Zero:
                return out, ad.Zero(jax.typeof(out).to_tangent_aval())
            return out, tangent(tangents[0], *primals, **params)

        ad.primitive_jvps[self.primitive] = jvp

    def linear(self, transpose: Callable[..., jax.Array]) -> None:
        """Declares linearity in the first argument, the others being piecewise constant.

        `transpose(cotangent, *arrays, **params)` is the first argument's cotangent.
        """

        def backward(cotangent: Any, *arrays: Any, **params: Any) -> list[Any]:
            given: list[Any] = [None] * len(arrays)
            if type(cotangent) is not ad.Zero:
                given[0] = transpose(cotangent, *_known(arrays), **params)
            return given

        self.derived(lambda t, x, *arrays, **params: self(t, *arrays, **params))
        ad.primitive_transposes[self.primitive] = backward

    def bilinear(self, first: Callable[..., jax.Array], second: Callable[..., jax.Array]) -> None:
        """Declares the operation linear in each of two arguments, with their two transposes."""

        def transposed(rule: Callable[..., jax.Array]) -> Callable[..., Any]:
            return lambda cotangent, *arrays, **params: rule(cotangent, *_known(arrays), **params)

        ad.defbilinear(self.primitive, transposed(first), transposed(second))

    def folds(self, images: Collection[int]) -> None:
        """Declares which arguments are `[B, ...]`, with their result: `vmap` makes B larger.

        A parameter `shape` is the result's. Where another argument is mapped, the plain form is.
        """

        def rule(arrays: Any, dims: Any, **params: Any) -> tuple[Any, int]:
            if any(d is not None for i, d in enumerate(dims) if i not in images):
                return self._plain_batch(arrays, dims, **params)
            (size,) = {a.shape[d] for a, d in zip(arrays, dims, strict=True) if d is not None}
            flat = [*arrays]
            for i in images:
                whole = batching.bdim_at_front(arrays[i], dims[i], size)
                flat[i] = whole.reshape(-1, *whole.shape[2:])
            if "shape" in params:
                params["shape"] = (size * params["shape"][0], *params["shape"][1:])
            out = self(*flat, **params)
            return out.reshape(size, -1, *out.shape[1:]), 0

        batching.primitive_batchers[self.primitive] = rule

    def _run(self, *arrays: jax.Array, **params: Any) -> jax.Array:
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            return self.plain(*arrays, **params)
        return _compiled(self.primitive, tuple(sorted(params.items())))(*arrays)

    def _shape(self, *avals: Any, **params: Any) -> Any:
        out = jax.eval_shape(functools.partial(self.plain, **params), *avals)
        return jax.core.ShapedArray(out.shape, out.dtype)

    def _plain_jvp(self, primals: Any, tangents: Any, **params: Any) -> tuple[Any, Any]:
        tangents = [ad.instantiate_zeros(t) for t in tangents]
        return jax.jvp(functools.partial(self.plain, **params), tuple(primals), tuple(tangents))

    def _plain_batch(self, arrays: Any, dims: Any, **params: Any) -> tuple[Any, int]:
        return jax.vmap(functools.partial(self.plain, **params), dims)(*arrays), 0


@functools.cache
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(functools.partial(primitive.bind, **dict(params)))


def _known(arrays: Any) -> list[Any]:
    # Of the argument that is being transposed there is only a type.
    return [
        a
        if isinstance(a, (jax.Array, np.ndarray))
        else jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype)
        for a in arrays
    ]
