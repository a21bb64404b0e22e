"""Photos that scikit-image carries with it."""

from __future__ import annotations

import numpy as np
import pytest

PHOTOS = ("camera", "coins", "astronaut", "page")


def load(name):
    data = pytest.importorskip("skimage.data")
    image = np.asarray(getattr(data, name)())
    return image if image.ndim == 3 else image[..., None]


@pytest.fixture(params=["coins", "astronaut"])
def photo(request):
    """A photo [H, W, C], float32 in [0, 1], cut to 100 x 120."""
    return (load(request.param)[:100, 180:300] / 255).astype(np.float32)


@pytest.fixture(params=PHOTOS)
def whole_photo(request):
    """A photo [H, W, C] of bytes."""
    return load(request.param)
