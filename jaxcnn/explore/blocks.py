"""Numbers inside an HTML page: deflated, then base64, and read back on first use."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

_TYPES = {"u8": np.uint8, "f16": np.float16, "f32": np.float32}


class Blocks:
    """The page's arrays. `add` gives the record by which the page finds one again."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, values: np.ndarray, kind: str) -> dict[str, Any]:
        """An array as `u8`, `f16` or `f32`, little endian; float16 beyond its range is an error."""
        with np.errstate(over="raise"):
            flat = np.ascontiguousarray(values, _TYPES[kind])
        planes = flat.reshape(-1).view(np.uint8).reshape(-1, flat.itemsize)
        # Byte by byte: the exponents lie together and deflate well.
        packed = zlib.compress(np.ascontiguousarray(planes.T).tobytes(), 6)
        self.texts.append(base64.b64encode(packed).decode("ascii"))
        return {"block": len(self.texts) - 1, "type": kind, "shape": list(flat.shape)}

    @property
    def size(self) -> int:
        """Bytes that the arrays take in the page."""
        return sum(map(len, self.texts))

    def html(self) -> str:
        return "\n".join(
            f'<script type="text/plain" id="block{i}">{text}</script>'
            for i, text in enumerate(self.texts)
        )


class Pool:
    """Many float arrays as one block, each found by its offset."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.length = 0

    def add(self, values: Any) -> dict[str, Any]:
        array = np.asarray(values, np.float32)
        record = {"at": self.length, "shape": list(array.shape)}
        self.parts.append(array.reshape(-1))
        self.length += array.size
        return record

    def values(self) -> np.ndarray:
        return np.concatenate(self.parts) if self.parts else np.zeros(0, np.float32)


def plain(values: Sequence[Any] | None) -> list[Any] | None:
    """Tuples in tuples as lists, for JSON."""
    if values is None:
        return None
    return [plain(v) if isinstance(v, (tuple, list)) else v for v in values]
