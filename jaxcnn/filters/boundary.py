"""What a filter sees beyond the edge of an image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.arguments import nearest

# scipy.ndimage's names, and numpy.pad's name of the same thing. Beware: numpy's "reflect" is
# scipy's "mirror"; here "reflect" is always scipy's.
MODES = {
    "reflect": "symmetric",  # d c b a | a b c d | d c b a
    "mirror": "reflect",  # d c b | a b c d | c b a
    "nearest": "edge",  # a a a | a b c d | d d d
    "wrap": "wrap",  # b c d | a b c d | a b c
    "constant": "constant",  # k k k | a b c d | k k k
}
_ALIASES = {
    "symmetric": "reflect",
    "edge": "nearest",
    "grid-mirror": "reflect",
    "grid-wrap": "wrap",
    "grid-constant": "constant",
}


def as_float(images: ArrayLike) -> jax.Array:
    """The images [..., H, W, C] as at least float32, integers unscaled; other ranks are errors."""
    images = jnp.asarray(images)
    if images.ndim < 3:
        raise ValueError(
            f"images of shape {images.shape}: filters take [..., H, W, C]; "
            "for one grey image add the channel axis, images[..., None]."
        )
    if 0 in images.shape[-3:]:
        raise ValueError(f"images of shape {images.shape} have no pixels.")
    if jnp.issubdtype(images.dtype, jnp.complexfloating):
        raise ValueError(f"images of type {images.dtype}: filters take real numbers.")
    floating = jnp.issubdtype(images.dtype, jnp.floating)
    return images.astype(jnp.promote_types(images.dtype, jnp.float32) if floating else jnp.float32)


def pad(
    images: jax.Array,
    rows: tuple[int, int],
    columns: tuple[int, int],
    mode: str = "reflect",
    cval: float = 0.0,
) -> jax.Array:
    """Images [..., H, W, C] with (before, after) more rows and columns.

    `mode` is one of scipy.ndimage's: reflect (d c b a | a b c d | d c b a), mirror
    (d c b | a b c d | c b a), nearest, wrap, constant (with `cval`). numpy's names symmetric and
    edge are accepted for reflect and nearest; "reflect" is scipy's, not numpy's.
    """
    name = _ALIASES.get(mode, mode)
    if name not in MODES:
        hint = nearest(mode, [*MODES, *_ALIASES])
        raise ValueError(
            f"There is no boundary mode {mode!r}{hint}; use one of {', '.join(MODES)}."
        )
    widths = [(0, 0)] * (images.ndim - 3) + [rows, columns, (0, 0)]
    if name == "constant":
        return jnp.pad(images, widths, mode="constant", constant_values=cval)
    return jnp.pad(images, widths, mode=MODES[name])
