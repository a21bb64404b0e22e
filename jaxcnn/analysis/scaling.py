"""How data-parallel training scales, on paper: bytes, seconds and efficiency by the textbook model.

A ring sends `2 (N - 1) / N` times the gradient's bytes from each device (Patarasuk and Yuan 2009);
a collective of few bytes costs its latency, twice the depth of a tree. Nothing here is measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

# Of a step's arithmetic the forward pass is one third; gradients come up during the other two.
_BACKWARD = 2 / 3


@dataclasses.dataclass(frozen=True)
class Load:
    """What a step of one device is, whatever the number of devices.

    Attributes:
      name: of the network.
      parameters: their number; a gradient is float32.
      step_flops: of forward and backward pass over the device's share of the batch.
      small_collectives: reductions of a few numbers in a step, as of each BatchNorm's moments
        over all devices, forward and backward.
      state_bytes: of what a checkpoint holds.
    """

    name: str
    parameters: int
    step_flops: float
    small_collectives: int
    state_bytes: int


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A step on `devices`.

    Attributes:
      devices: their number N.
      sent_bytes: by each device for the gradient.
      compute_seconds: of the arithmetic.
      gradient_seconds: of the gradient's reduction on its own.
      small_seconds: of the small collectives, which nothing can hide.
      efficiency: images/s over N times one device's, with nothing hidden.
      overlapped: the same with the gradient's reduction behind the backward pass.
    """

    devices: int
    sent_bytes: float
    compute_seconds: float
    gradient_seconds: float
    small_seconds: float
    efficiency: float
    overlapped: float


def scale(
    load: Load, devices: int, *, bandwidth: float, flops: float, latency: float = 5e-6
) -> Scaling:
    """The model's answer for one number of devices.

    Args:
      load: of each device.
      devices: N.
      bandwidth: of each device's link, bytes/s in each direction.
      flops: that a device does in a second on this network (not its peak).
      latency: of one hop, seconds.

    Raises:
      ValueError: for a number that is not positive.
    """
    if devices < 1 or min(bandwidth, flops) <= 0 or latency < 0:
        raise ValueError(
            f"devices={devices}, bandwidth={bandwidth}, flops={flops}, latency={latency}: they "
            "must be positive."
        )
    hops = 2 * math.ceil(math.log2(devices))
    sent = 2 * (devices - 1) / devices * 4 * load.parameters
    compute = load.step_flops / flops
    gradient = sent / bandwidth + hops * latency
    small = load.small_collectives * hops * latency
    if devices == 1:
        gradient = 0.0
    left = max(0.0, gradient - _BACKWARD * compute)
    return Scaling(
        devices,
        sent,
        compute,
        gradient,
        small,
        compute / (compute + gradient + small),
        compute / (compute + left + small),
    )


def scaling_table(
    loads: Sequence[Load], devices: Sequence[int], bandwidths: Sequence[float], *, flops: float
) -> str:
    """The model's answers as a table in Markdown; bandwidths in bytes/s."""
    lines = [
        "| network | link, GB/s | devices | sent by each, MB | compute, ms | gradient, ms "
        "| BatchNorm, ms | efficiency | with overlap |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for load in loads:
        for bandwidth in bandwidths:
            for n in devices:
                row = scale(load, n, bandwidth=bandwidth, flops=flops)
                lines.append(
                    f"| {load.name} | {bandwidth / 1e9:g} | {n:,} | {row.sent_bytes / 1e6:.0f} "
                    f"| {1e3 * row.compute_seconds:.0f} | {1e3 * row.gradient_seconds:.0f} "
                    f"| {1e3 * row.small_seconds:.1f} | {row.efficiency:.0%} "
                    f"| {row.overlapped:.0%} |"
                )
    return "\n".join(lines)


def known_load(name: str, *, batch: int = 256, image_size: int = 224) -> Load:
    """The load of a network of this library, trained by SGD with momentum.

    Args:
      name: of `jaxcnn.list_models()`.
      batch: examples on each device.
      image_size: height and width.
    """
    from jaxcnn.analysis.summary import summarize

    summary = summarize(name, image_size)
    norms = sum(row.kind == "batch norm" for row in summary.rows)
    return Load(
        name,
        summary.total_params,
        3 * 2 * summary.total_macs * batch,
        2 * norms,
        2 * 4 * summary.total_params,
    )
