"""Checks of what a caller gives: the fields of a record, and names that are nearly right."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal


def nearest(name: Any, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` with the known name that is most like this one; empty if none is."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def check_fields(record: Any, prefix: str = "") -> None:
    """Raises ValueError unless each field of a dataclass holds what its annotation says.

    Floats may be whole numbers and must be finite. `prefix` is put before a field's name.
    """
    for name, hint in typing.get_type_hints(type(record)).items():
        value = getattr(record, name)
        if _fits(value, hint):
            continue
        given, words = f"{prefix}{name}={value!r:.80}", typing.get_args(hint)
        if typing.get_origin(hint) is Literal:
            listed = ", ".join(map(repr, words))
            raise ValueError(f"{given} is not one of {listed}{nearest(value, words)}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{given} must be finite.")
        wanted = hint.__name__ if isinstance(hint, type) and not words else str(hint)
        raise ValueError(f"{given} is not of the type {wanted}.")


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind is Literal:
        return isinstance(value, str) and value in parts
    if kind in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        hints = parts[:1] * len(value) if parts[1:] == (...,) else parts
        return len(hints) == len(value) and all(map(_fits, value, hints))
    if kind is dict:
        return isinstance(value, dict) and all(
            _fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items()
        )
    if hint is float:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, hint)  # True may stand for 1
