"""Our module names beside PyTorch's, one table for each family."""

from __future__ import annotations

import re

# Patterns are tried in order against a module's path; the first full match gives the name.
Rows = tuple[tuple[str, str], ...]

# akamaster/pytorch_resnet_cifar10, whose blocks count from 0 and whose head is `linear`.
_CIFAR_RESNET: Rows = (
    (r"stem_conv", "conv1"),
    (r"stem_norm", "bn1"),
    (r"stage(\d+)_block(\d+)/conv(\d)", r"layer\1.{\2}.conv\3"),
    (r"stage(\d+)_block(\d+)/norm(\d)", r"layer\1.{\2}.bn\3"),
    (r"stage(\d+)_block(\d+)/project", r"layer\1.{\2}.shortcut.0"),
    (r"stage(\d+)_block(\d+)/project_norm", r"layer\1.{\2}.shortcut.1"),
    (r"head", "linear"),
)

TABLES: dict[str, Rows] = {"cifar_resnet": _CIFAR_RESNET}


def torch_module(family: str, path: str) -> str:
    """PyTorch's name of one of our modules; `{n}` in a table counts from 0 where we do from 1."""
    for pattern, name in TABLES[family]:
        match = re.fullmatch(pattern, path)
        if match:
            return re.sub(r"\{(\d+)\}", lambda m: str(int(m[1]) - 1), match.expand(name))
    raise KeyError(f"The table of {family} has no row for {path!r}; add one.")
