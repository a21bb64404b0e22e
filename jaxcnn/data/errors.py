"""The one error that bad data raises, and how unknown names are reported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Data that cannot be used; the message gives the dataset, the rule and the remedy."""


def unknown_name(kind: str, name: str, known: Iterable[str], remedy: str = "") -> DataError:
    """The error for a name that does not exist: suggests the nearest and lists what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    found = f" There is: {listed}." if known else ""
    return DataError(f"Unknown {kind} {name!r}.{hint}{found}" + (f" {remedy}" if remedy else ""))
