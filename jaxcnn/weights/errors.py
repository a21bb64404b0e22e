"""The one error of this room."""

from __future__ import annotations

from collections.abc import Sequence

# Mismatches that a command line shows; the error in Python names all.
_SHOWN = 3


class WeightsError(ValueError):
    """Weights that do not fit a network, or a file that holds none; every mismatch is named.

    Attributes:
      summary: the error as one line with the first three, as scripts print it.
    """

    def __init__(self, message: str, summary: str | None = None) -> None:
        super().__init__(message)
        self.summary = summary or message

    @classmethod
    def of_mismatches(
        cls, what: str, problems: Sequence[str], hints: Sequence[str]
    ) -> WeightsError:
        """All problems a line each and then the hints; the summary gives the first problems."""
        count = f"{len(problems)} mismatch" + ("es" if len(problems) > 1 else "")
        left = len(problems) - _SHOWN
        shown = "; ".join(problems[:_SHOWN]) + (f"; and {left} more" if left > 0 else "")
        return cls(
            "\n  ".join([f"{what}: {count}.", *problems, *hints]),
            " ".join([f"{what}: {count}: {shown}.", *hints]),
        )
