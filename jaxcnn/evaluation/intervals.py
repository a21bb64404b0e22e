"""How sure a counted share, or the difference of two, is."""

from __future__ import annotations

import math
from collections.abc import Callable

Z95 = 1.959963984540054  # the normal distribution's 97.5% quantile


def wilson_interval(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), 95% by default; within [0, 1]."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials}: needs 0 <= successes <= trials, trials >= 1.")
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's exact test (McNemar 1947).

    Of the examples that one of two networks got right and the other wrong, either is as likely
    to have been the right one, if the networks are equally good: the count is binomial with 1/2.

    Args:
      only_first: examples that only the first network got right.
      only_second: examples that only the second got right.
    """
    fewer, total = min(only_first, only_second), only_first + only_second
    if fewer < 0:
        raise ValueError(f"Counts of {only_first} and {only_second}: neither may be negative.")
    # Summed by logarithms: 2^total is beyond a float from 1,024 on.
    log_all = math.lgamma(total + 1) - total * math.log(2)
    tail = math.fsum(
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(total - k + 1))
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def tango_interval(
    only_first: int, only_second: int, total: int, z: float = Z95
) -> tuple[float, float]:
    """The score interval of the difference of two paired shares, 95% by default.

    Tango 1998 ("Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17): the differences that a score test would
    not refuse. It leaves zero out exactly where McNemar's asymptotic test refuses equality.

    Args:
      only_first: examples that only the first got right.
      only_second: examples that only the second got right.
      total: all examples, those on which both agree included.
      z: quantile of the normal distribution.

    Returns:
      Bounds of (share of the first - share of the second), within [-1, 1].
    """
    if min(only_first, only_second) < 0 or only_first + only_second > total or total < 1:
        raise ValueError(
            f"{only_first} and {only_second} of {total}: needs counts of at least 0 that are "
            "together at most the total, and a total of at least 1."
        )
    difference = (only_first - only_second) / total

    def score(delta: float) -> float:
        return _tango_score(only_first, only_second, total, delta)

    return (
        _crossing(lambda delta: score(delta) - z, -1.0, difference),
        _crossing(lambda delta: score(delta) + z, difference, 1.0),
    )


def _tango_score(b: int, c: int, n: int, delta: float) -> float:
    """The score statistic for a true difference of `delta`; falls as `delta` grows."""
    # The probability of "only the second", the most likely one for this difference: the root of
    # 2 n q^2 + linear q - c delta (1 - delta) = 0.
    linear = -b - c + (2 * n - b + c) * delta
    root = math.sqrt(max(0.0, linear**2 + 8 * n * c * delta * (1 - delta)))
    q = (root - linear) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    excess = b - c - n * delta
    if variance <= 0:
        return 0.0 if excess == 0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by bisection; an end where it does not."""
    if falling(low) <= 0:
        return low
    if falling(high) >= 0:
        return high
    for _ in range(100):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
