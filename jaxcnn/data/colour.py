"""Changes of colour on the device, on one uint8 image `[H, W, C]`: Pillow's, jitter, lighting."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

# The covariance of ImageNet's training pixels in [0, 1]: its eigenvalues, and its eigenvectors as
# columns, as facebook/fb.resnet.torch published them.
IMAGENET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def blend(base: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """`base + factor * (image - base)`, clipped and truncated to uint8 as `PIL.Image.blend`."""
    first, second = base.astype(jnp.float32), image.astype(jnp.float32)
    return jnp.clip(first + factor * (second - first), 0, 255).astype(jnp.uint8)


def gray(image: jax.Array) -> jax.Array:
    """Pillow's luma, uint8 `[H, W, 1]`; itself where there is one channel."""
    if image.shape[-1] == 1:
        return image
    weights = jnp.array([19595, 38470, 7471], jnp.int32)
    luma = (jnp.sum(image.astype(jnp.int32) * weights, -1, keepdims=True) + 0x8000) >> 16
    return luma.astype(jnp.uint8)


def brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """`ImageEnhance.Brightness`: 0 is black, 1 changes nothing."""
    return blend(jnp.zeros_like(image), image, factor)


def contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """`ImageEnhance.Contrast`: 0 is the mean gray, 1 changes nothing."""
    mean = jnp.mean(gray(image).astype(jnp.float32))
    return blend(jnp.full_like(image, jnp.floor(mean + 0.5).astype(jnp.uint8)), image, factor)


def saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """`ImageEnhance.Color`: 0 is gray, 1 changes nothing."""
    return blend(jnp.broadcast_to(gray(image), image.shape), image, factor)


def sharpness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """`ImageEnhance.Sharpness`: 0 is `ImageFilter.SMOOTH`, 1 changes nothing."""
    wide, (height, width) = image.astype(jnp.int32), image.shape[:2]
    if min(height, width) < 3:
        return image
    total = 4 * wide[1:-1, 1:-1]
    for y in range(3):
        for x in range(3):
            total += wide[y : height - 2 + y, x : width - 2 + x]
    smooth = image.at[1:-1, 1:-1].set(((2 * total + 13) // 26).astype(jnp.uint8))
    return blend(smooth, image, factor)


def hue(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns the hue of an RGB image by `shift` of a circle, in floating point HSV."""
    pixels = image.astype(jnp.float32) / 255
    high, low = pixels.max(-1), pixels.min(-1)
    spread = jnp.where(high > low, high - low, 1.0)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    angle = jnp.select(
        [high == red, high == green],
        [(green - blue) / spread, 2 + (blue - red) / spread],
        4 + (red - green) / spread,
    )
    angle = jnp.where(high > low, angle, 0.0) + 6 * shift
    # The channel c of a colour of hue h falls from its maximum as h moves away from c's own hue.
    distance = angle[..., None] + jnp.array([5.0, 3.0, 1.0])
    distance -= 6 * jnp.floor(distance * (1 / 6))  # the remainder operator is ten times as slow
    fall = jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)
    turned = high[..., None] - (high - low)[..., None] * fall
    return jnp.round(turned * 255).astype(jnp.uint8)


def jitter(image: jax.Array, key: jax.Array, strength: tuple[float, ...]) -> jax.Array:
    """Random brightness, contrast, saturation and hue, in this order.

    The first three factors are uniform in `[max(0, 1 - s), 1 + s]`, the hue in `[-s, s]` of a
    circle, as in torchvision's ColorJitter, which draws the order too.
    """
    draws = jax.random.uniform(key, (4,))
    for step, draw, s in zip((brightness, contrast, saturation), draws, strength, strict=False):
        low = max(0.0, 1 - s)
        if s:
            image = step(image, low + draw * (1 + s - low))
    if strength[3]:
        image = hue(image, (2 * draws[3] - 1) * strength[3])
    return image


def lighting(image: jax.Array, key: jax.Array, std: float) -> jax.Array:
    """AlexNet's lighting: adds the pixels' principal components, times Gaussians of `std`.

    Krizhevsky et al. 2012, section 4.1, with the values above; the paper's `std` is 0.1.
    """
    values = jnp.array(IMAGENET_EIGENVALUES) * std * jax.random.normal(key, (3,))
    shift = jnp.matmul(jnp.array(IMAGENET_EIGENVECTORS), values, precision="highest")
    return jnp.clip(jnp.round(image.astype(jnp.float32) + 255 * shift), 0, 255).astype(jnp.uint8)


def principal_colours(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues `[3]`, largest first, and eigenvectors (columns `[3, 3]`) of pixels in [0, 1].

    Args:
      images: uint8 `[..., 3]`, what the covariance is taken over.
    """
    pixels = images.reshape(-1, 3).astype(np.float64) / 255
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False))
    return values[::-1], vectors[:, ::-1]
