"""docs/gallery.md shows every picture of docs/gallery, and all of them are small enough to keep."""

from __future__ import annotations

import pathlib
import re

import numpy as np
from PIL import Image

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"


def test_every_picture_is_shown_once_and_none_is_missing_or_blank():
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (DOCS / "gallery.md").read_text())
    files = [p.relative_to(DOCS).as_posix() for p in (DOCS / "gallery").rglob("*.png")]
    assert sorted(shown) == sorted(files)
    for name in files:
        pixels = np.asarray(Image.open(DOCS / name).convert("L"))
        assert min(pixels.shape) > 300 and pixels.std() > 5, name


def test_the_pictures_stay_below_three_megabytes():
    assert sum(p.stat().st_size for p in (DOCS / "gallery").rglob("*")) < 3e6
