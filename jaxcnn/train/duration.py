"""Lengths of training in steps, epochs or examples."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Annotated, Literal

import tyro

from jaxcnn.arguments import check_fields

Unit = Literal["steps", "epochs", "examples"]


@dataclasses.dataclass(frozen=True)
class Duration:
    """A length of training, counted in optimizer steps, passes over the data, or examples."""

    amount: float
    unit: Unit

    def __post_init__(self) -> None:
        check_fields(self)
        if self.amount < 0:
            raise ValueError(f"A duration of {self.amount} {self.unit}: it must be 0 or more.")

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Reads `500steps`, `2.5epochs` or `1e6examples`; a space before the unit is fine."""
        match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*(steps?|epochs?|examples?)\s*", text)
        try:
            if match is None:
                raise ValueError
            return cls(float(match[1]), match[2].rstrip("s") + "s")  # type: ignore[arg-type]
        except ValueError:
            raise ValueError(
                f"{text!r} is no duration; write for example 500steps, 2.5epochs or 1e6examples."
            ) from None

    def to_steps(self, num_examples: int, batch_size: int) -> int:
        """The number of steps, rounded up, for a dataset and a global batch size."""
        if self.unit == "steps":
            return math.ceil(self.amount)
        examples = self.amount * (num_examples if self.unit == "epochs" else 1)
        # The tolerance keeps 0.1 epochs of 50,000 from being one step too long by rounding.
        return math.ceil(examples / batch_size - 1e-9)

    def __str__(self) -> str:
        # All digits: epochs(2 / 3) read back must be as many steps.
        return f"{float(self.amount)!r}".removesuffix(".0") + self.unit


def steps(amount: float) -> Duration:
    """A number of optimizer steps."""
    return Duration(amount, "steps")


def epochs(amount: float) -> Duration:
    """A number of passes over the training split."""
    return Duration(amount, "epochs")


def examples(amount: float) -> Duration:
    """A number of training examples."""
    return Duration(amount, "examples")


# A Duration as one word on the command line: `--length 90epochs`.
DurationArg = Annotated[
    Duration,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="N{steps,epochs,examples}",
        instance_from_str=lambda args: Duration.parse(args[0]),
        is_instance=lambda value: isinstance(value, Duration),
        str_from_instance=lambda value: [str(value)],
    ),
]
