"""Which example stands in which row of which batch, as a function of the step alone."""

from __future__ import annotations

import threading

import numpy as np

# The permutations that are in use: a batch at an epoch's end, and batches that are read ahead.
_KEEP = 3


def permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch, int64 `[N]`.

    Examples are sorted by Philox numbers under the key `(seed, epoch)`. Raw Philox output is the
    same in every version of NumPy, which `Generator.permutation` does not promise.
    """
    philox = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    return np.argsort(philox.random_raw(num_examples), kind="stable")


class Order:
    """The order of a training run.

    Row `r` of step `t` stands at position `p = t * batch_size + r`, in epoch `p // N`, and holds
    example `permutation(N, seed, epoch)[p % N]`. A batch may straddle two epochs, so each example
    is seen exactly once per epoch and none is dropped.

    Attributes:
      num_examples: `N`, size of the split.
      batch_size: rows of a step over all processes.
      seed: decides every epoch's permutation.
      shuffle: False takes the examples as they lie.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int, shuffle: bool = True) -> None:
        if num_examples < 1 or batch_size < 1:
            raise ValueError(
                f"num_examples={num_examples}, batch_size={batch_size}: both must be positive."
            )
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed={seed} must lie in 0..2**63-1.")
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._lock = threading.Lock()
        self._cache: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The example (int64 `[B]`) and the epoch (int32 `[B]`) of each row of a step."""
        if step < 0:
            raise ValueError(f"step={step} must not be negative.")
        first = step * self.batch_size
        position = np.arange(first, first + self.batch_size, dtype=np.int64)
        epoch, place = np.divmod(position, self.num_examples)
        if not self.shuffle:
            return place, epoch.astype(np.int32)
        index = np.empty(self.batch_size, np.int64)
        for e in range(int(epoch[0]), int(epoch[-1]) + 1):
            here = epoch == e
            index[here] = self._permutation(e)[place[here]]
        return index, epoch.astype(np.int32)

    def _permutation(self, epoch: int) -> np.ndarray:
        # The lock keeps the threads of a loader from sorting the same epoch several times.
        with self._lock:
            found = self._cache.get(epoch)
            if found is None:
                found = permutation(self.num_examples, self.seed, epoch)
                self._cache[epoch] = found
                while len(self._cache) > _KEEP:
                    del self._cache[next(iter(self._cache))]
            return found
