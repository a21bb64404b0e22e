"""Convolution and its two gradients, each in a plain form and a fast one for CPUs.

Convolution is linear in the image and in the kernel, and so are both gradients in what they take:
the transposes of the three operations are again the three. Each is one `Form`, so gradients of any
order, forward or backward, are made of operations that have a fast form.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.nn import native
from jaxcnn.nn.forms import Form


@dataclasses.dataclass(frozen=True)
class Window:
    """A convolution's geometry: each field for height and width."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


Shape = tuple[int, ...]


def convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """`[B, H, W, C]` and `[h, w, C / groups, F]` to `[B, H', W', F]`, by the platform's own."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=window.stride,
        padding=[(p, p) for p in window.padding],
        rhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=window.groups,
    )


def has_fast_form(x: jax.Array, kernel: jax.Array, window: Window) -> bool:
    """Whether some gradient or the convolution itself has a fast form for these shapes."""
    if x.dtype != kernel.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
        return False
    if _is_pointwise(kernel.shape, window) or _is_dense(window):
        return True
    if window.groups > 1:
        wide = _joined(x.shape[3], kernel.shape[3], window.groups) is not None
    else:
        wide = any(n % native.VECTOR == 0 for n in kernel.shape[2:])
    return x.dtype == jnp.float32 and wide and native.available()


def _is_pointwise(kernel: Shape, window: Window) -> bool:
    return kernel[:2] == (1, 1) and window.padding == (0, 0) and window.groups == 1


def _convolve(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    return convolve(x, kernel, window)


def _image_gradient(dy: jax.Array, kernel: jax.Array, *, window: Window, shape: Shape) -> jax.Array:
    x = jax.ShapeDtypeStruct(shape, dy.dtype)
    return jax.linear_transpose(lambda x: convolve(x, kernel, window), x)(dy)[0]


def _kernel_gradient(x: jax.Array, dy: jax.Array, *, window: Window, shape: Shape) -> jax.Array:
    kernel = jax.ShapeDtypeStruct(shape, x.dtype)
    return jax.linear_transpose(lambda k: convolve(x, k, window), kernel)(dy)[0]


# A 1x1 convolution is a matrix product over all pixels; with a stride, over those that it keeps. Of
# other convolutions these are the plain forms.


def _pointwise(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    if not _is_pointwise(kernel.shape, window):
        return _convolve(x, kernel, window=window)
    x = x[:, :: window.stride[0], :: window.stride[1]]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)


def _pointwise_image_gradient(
    dy: jax.Array, kernel: jax.Array, *, window: Window, shape: Shape
) -> jax.Array:
    if not _is_pointwise(kernel.shape, window):
        return _image_gradient(dy, kernel, window=window, shape=shape)
    dx = (dy.reshape(-1, dy.shape[-1]) @ kernel[0, 0].T).reshape(*dy.shape[:-1], -1)
    if window.stride == (1, 1):
        return dx
    spread = [(0, 0, 0)]
    for axis, step in zip((1, 2), window.stride, strict=True):
        spread.append((0, shape[axis] - (dx.shape[axis] - 1) * step - 1, step - 1))
    return lax.pad(dx, jnp.zeros((), dx.dtype), [*spread, (0, 0, 0)])


def _pointwise_kernel_gradient(
    x: jax.Array, dy: jax.Array, *, window: Window, shape: Shape
) -> jax.Array:
    if not _is_pointwise(shape, window):
        return _kernel_gradient(x, dy, window=window, shape=shape)
    x = x[:, :: window.stride[0], :: window.stride[1]]
    x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    # The product wants one operand with its pixels last. The barrier keeps XLA from choosing which:
    # it would transpose the larger one as well.
    if x.shape[1] <= dy.shape[1]:
        return (lax.optimization_barrier(x.T) @ dy).reshape(shape)
    gradient = lax.optimization_barrier(lax.optimization_barrier(dy.T) @ x)
    return gradient.T.reshape(shape)


# XLA takes seconds for the gradients of a convolution in groups on a CPU. The same one without
# groups, its kernel zero from one to another, takes more products and a hundredth of the time.

_MOST_GROUPS = 64  # of a ResNeXt


def _is_dense(window: Window) -> bool:
    return 1 < window.groups <= _MOST_GROUPS


def _whole(window: Window) -> Window:
    return dataclasses.replace(window, groups=1)


def _expand(kernel: jax.Array, groups: int) -> jax.Array:
    """`[h, w, C / groups, F]` to `[h, w, C, F]`, zero where channel and filter share no group."""
    height, width, channels, filters = kernel.shape
    kernel = kernel.reshape(height, width, 1, channels, groups, filters // groups)
    own = jnp.eye(groups, dtype=bool)[:, None, :, None]
    return jnp.where(own, kernel, 0).reshape(height, width, groups * channels, filters)


def _grouped_image_gradient(
    dy: jax.Array, kernel: jax.Array, *, window: Window, shape: Shape
) -> jax.Array:
    if not _is_dense(window):
        return _pointwise_image_gradient(dy, kernel, window=window, shape=shape)
    dense = _expand(kernel, window.groups)
    return _pointwise_image_gradient(dy, dense, window=_whole(window), shape=shape)


def _grouped_kernel_gradient(
    x: jax.Array, dy: jax.Array, *, window: Window, shape: Shape
) -> jax.Array:
    if not _is_dense(window):
        return _pointwise_kernel_gradient(x, dy, window=window, shape=shape)
    height, width, channels, filters = shape
    groups = window.groups
    dense = (height, width, groups * channels, filters)
    gradient = _pointwise_kernel_gradient(x, dy, window=_whole(window), shape=dense)
    gradient = gradient.reshape(height, width, groups, channels, groups, filters // groups)
    return jnp.einsum("hwgcgf->hwcgf", gradient).reshape(shape)


# Compiled: blocks of filters (of channels, in the image's gradient) are whole vectors.


def _compiled_convolve(x: jax.Array, kernel: jax.Array, *, window: Window, parts: int) -> jax.Array:
    joined = _compiles((x, kernel), kernel.shape[3], x.shape[3], kernel.shape[3], window)
    if not joined:
        return _pointwise(x, kernel, window=window)
    shape = jax.eval_shape(lambda x, k: convolve(x, k, window), x, kernel).shape
    return native.call("convolve", shape, x, kernel, _numbers(window, joined), parts)


def _compiled_image_gradient(
    dy: jax.Array, kernel: jax.Array, *, window: Window, shape: Shape, parts: int
) -> jax.Array:
    joined = _compiles((dy, kernel), shape[3], shape[3], kernel.shape[3], window)
    if not joined:
        return _grouped_image_gradient(dy, kernel, window=window, shape=shape)
    return native.call("image_gradient", shape, dy, kernel, _numbers(window, joined), parts)


def _compiled_kernel_gradient(
    x: jax.Array, dy: jax.Array, *, window: Window, shape: Shape, parts: int
) -> jax.Array:
    joined = _compiles((x, dy), shape[3], x.shape[3], shape[3], window)
    if not joined:
        return _grouped_kernel_gradient(x, dy, window=window, shape=shape)
    return native.call("kernel_gradient", shape, x, dy, _numbers(window, joined), parts)


def _compiles(
    arrays: tuple[jax.Array, ...], written: int, channels: int, filters: int, window: Window
) -> int:
    """How many groups the compiled functions join, 0 where they do not apply.

    `written` is what comes in blocks: filters, or channels in the image's gradient.
    """
    if arrays[0].dtype != jnp.float32 or not native.available():
        return 0
    if not all(a.size for a in arrays):  # they divide by how many pixels there are
        return 0
    if window.groups > 1:
        return _joined(channels, filters, window.groups) or 0
    return int(written % native.VECTOR == 0)


def _joined(channels: int, filters: int, groups: int) -> int | None:
    """The fewest groups that together have whole vectors of channels and of filters."""
    for joined in range(1, min(groups, native.VECTOR) + 1):
        sizes = (joined * channels // groups, joined * filters // groups)
        if groups % joined == 0 and all(size % native.VECTOR == 0 for size in sizes):
            return joined
    return None


def _numbers(window: Window, joined: int) -> tuple[int, ...]:
    return (*window.stride, *window.padding, *window.dilation, window.groups, joined)


conv = Form("conv2d", _convolve, _pointwise, _compiled_convolve)
image_gradient = Form(
    "conv2d_image_gradient", _image_gradient, _grouped_image_gradient, _compiled_image_gradient
)
kernel_gradient = Form(
    "conv2d_kernel_gradient",
    _kernel_gradient,
    _grouped_kernel_gradient,
    _compiled_kernel_gradient,
)

conv.bilinear(
    lambda ct, x, kernel, window: image_gradient(ct, kernel, window=window, shape=x.shape),
    lambda ct, x, kernel, window: kernel_gradient(x, ct, window=window, shape=kernel.shape),
)
image_gradient.bilinear(
    lambda ct, dy, kernel, window, shape: conv(ct, kernel, window=window),
    lambda ct, dy, kernel, window, shape: kernel_gradient(
        ct, dy, window=window, shape=kernel.shape
    ),
)
kernel_gradient.bilinear(
    lambda ct, x, dy, window, shape: image_gradient(dy, ct, window=window, shape=x.shape),
    lambda ct, x, dy, window, shape: conv(x, ct, window=window),
)
conv.folds((0,))
image_gradient.folds((0,))
