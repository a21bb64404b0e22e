"""Layer arithmetic: what a convolution, a pooling or a dense layer gives, holds and costs.

Multiply-adds are those of the definition, padding included: one for each kernel element at each
output. FLOPs are twice that. Activations are the values of the output.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

WHOLE = (int, np.integer)
Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """One layer for one image: output shape, parameters, multiply-adds."""

    output_shape: tuple[int, ...]
    params: int
    macs: int

    @property
    def flops(self) -> int:
        """Floating-point operations: two for each multiply-add."""
        return 2 * self.macs

    @property
    def activations(self) -> int:
        """Values of the output."""
        return math.prod(self.output_shape)


def output_size(
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    strict: bool = False,
) -> int:
    """Output length along one axis: floor((N + P_lo + P_hi - d (f - 1) - 1) / s) + 1.

    With equal padding and no dilation this is the textbook's M = (N + 2P - f) / s + 1. `padding` is
    one number for both sides or (low, high). `ceil_mode` rounds up, but drops a last window that
    would start beyond the input and its low padding (Caffe's and PyTorch's rule for pooling).
    `strict` refuses a stride that does not divide. Raises ValueError where no output exists.
    """
    size, kernel = _whole("size", size, 1), _whole("kernel", kernel, 1)
    stride, dilation = _whole("stride", stride, 1), _whole("dilation", dilation, 1)
    low, high = (_whole("padding", side, 0) for side in _sides(padding))
    extent = dilation * (kernel - 1) + 1
    room = size + low + high - extent
    if room < 0:
        raise ValueError(
            f"a kernel of {kernel} with dilation {dilation} spans {extent} pixels, but size {size} "
            f"with padding {low}+{high} has {size + low + high}; use a size of at least "
            f"{extent - low - high}, a padding that adds {-room} more, or a kernel of at most "
            f"{(size + low + high - 1) // dilation + 1}."
        )
    if strict and room % stride:
        raise ValueError(
            f"(N + P - f) / s = {room} / {stride} is not whole; {_fitting(size, room, stride)}."
        )
    if not ceil_mode:
        return room // stride + 1
    outputs = -(-room // stride) + 1
    return outputs - 1 if (outputs - 1) * stride >= size + low else outputs


def conv_layer(
    input_shape: tuple[int, int, int],
    features: int,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    use_bias: bool = True,
) -> LayerFacts:
    """A convolution of one image [H, W, C]; parameters kh kw (C / groups) features (+ features).

    Ten 5x5 filters over three channels with bias are 10 (5 5 3 + 1) = 760 parameters.
    """
    height, width, channels = _image(input_shape)
    features, groups = _whole("features", features, 1), _whole("groups", groups, 1)
    for name, value in (("channels", channels), ("features", features)):
        if value % groups:
            fits = [g for g in range(1, groups + 1) if channels % g == 0 and features % g == 0]
            raise ValueError(
                f"{name}={value} is not divisible by groups={groups}; use one of {fits} groups."
            )
    kernel = _pair(kernel_size)
    rows, columns = (
        output_size(n, k, stride=s, padding=p, dilation=d)
        for n, k, s, p, d in zip(
            (height, width), kernel, _pair(stride), _paddings(padding), _pair(dilation), strict=True
        )
    )
    weights = math.prod(map(int, kernel)) * (channels // groups) * features
    return LayerFacts(
        output_shape=(rows, columns, features),
        params=weights + (features if use_bias else 0),
        macs=weights * rows * columns,
    )


def pool_layer(
    input_shape: tuple[int, int, int],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> LayerFacts:
    """A pooling of one image [H, W, C]; no parameters and no multiply-adds. Stride: the window."""
    height, width, channels = _image(input_shape)
    sizes, steps = _pair(window), _pair(window if stride is None else stride)
    rows, columns = (
        output_size(n, k, stride=s, padding=p, ceil_mode=ceil_mode)
        for n, k, s, p in zip((height, width), sizes, steps, _paddings(padding), strict=True)
    )
    return LayerFacts(output_shape=(rows, columns, channels), params=0, macs=0)


def dense_layer(
    input_shape: int | tuple[int, ...], features: int, *, use_bias: bool = True
) -> LayerFacts:
    """A dense layer on one flattened input: one multiply-add for each weight."""
    shape = (input_shape,) if isinstance(input_shape, WHOLE) else tuple(input_shape)
    features = _whole("features", features, 1)
    weights = math.prod(_whole("input_shape", value, 1) for value in shape) * features
    return LayerFacts((features,), weights + (features if use_bias else 0), weights)


def _whole(name: str, value: int, least: int) -> int:
    """The value as Python's integer, which cannot overflow."""
    if not isinstance(value, WHOLE) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} cannot work: it must be a whole number >= {least}.")
    return int(value)


def _pair(value: Pair) -> tuple[int, int]:
    if isinstance(value, WHOLE):
        return (value, value)
    if len(value) != 2:
        raise ValueError(f"{value!r} cannot work: give one number, or (height, width).")
    return (value[0], value[1])


def _sides(padding: int | tuple[int, int]) -> tuple[int, int]:
    return (padding, padding) if isinstance(padding, WHOLE) else (padding[0], padding[1])


def _paddings(padding: Padding) -> tuple[int | tuple[int, int], int | tuple[int, int]]:
    """Per axis: one number for all sides, (height, width), or a (low, high) pair for each."""
    if isinstance(padding, WHOLE):
        return padding, padding
    if len(padding) != 2:
        raise ValueError(
            f"padding={padding!r} cannot work: give a number, (height, width), or "
            "((top, bottom), (left, right))."
        )
    return padding[0], padding[1]


def _image(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(
            f"input_shape={shape!r} cannot work: it must be (height, width, channels)."
        )
    height, width, channels = (_whole("input_shape", value, 1) for value in shape)
    return height, width, channels


def _fitting(size: int, room: int, stride: int) -> str:
    """The nearest sizes and the nearest smaller stride for which the stride divides."""
    below, above = size - room % stride, size + stride - room % stride
    sizes = f"sizes {below} and {above} fit" if below >= 1 else f"size {above} fits"
    divisor = max(s for s in range(1, stride) if room % s == 0)
    return f"{sizes}, or stride {divisor} with size {size}"
