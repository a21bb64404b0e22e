"""What the shapes of weights depend on beside the network: the images' size and channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.nn.conv import pair
from jaxcnn.weights.layout import Naming, Path, channels_of, shapes
from jaxcnn.weights.tables import Size, tables


def size_of(model: nn.Module, image_size: int | Size | None) -> Size:
    """The size that was named, or the network's own."""
    if image_size is None:
        spec = getattr(model, "spec", None)
        return getattr(spec, "image_size", (224, 224))
    return pair(image_size, "image_size", 1)


def usual_channels(model: nn.Module) -> int:
    """The channels that a network is made for; RGB for a module of one's own."""
    spec = getattr(model, "spec", None)
    return getattr(spec, "channels", 3)


def image_channels(
    variables: Mapping[str, Any], model: nn.Module, image_size: int | Size | None = None
) -> int:
    """The channels of the images that the network's first layer reads."""
    arrays = {"/".join(path): value for path, value in flatten_dict(dict(variables)).items()}
    return described_channels(arrays, Naming(None), model, image_size)


def described_channels(
    arrays: Mapping[str, Any], naming: Naming, model: nn.Module, image_size: int | Size | None
) -> int:
    """The image channels that arrays by name are for; the usual ones where they cannot tell."""
    size = size_of(model, image_size)
    families = tables(model, size)
    if not families:
        return _fitting_channels(arrays, model, size)
    kernel = arrays.get(naming.name(("params", *families["torch"].first.split("/"), "kernel")))
    if kernel is None:
        return usual_channels(model)
    shape = tuple(kernel.shape)
    found = channels_of(shape, naming, size)
    # A flattened image that is neither gray nor RGB has another size, unless this one was named.
    if len(shape) == 2 and image_size is None and found not in (1, 3):
        return usual_channels(model)
    return found or usual_channels(model)


def _fitting_channels(arrays: Mapping[str, Any], model: nn.Module, size: Size) -> int:
    """Of a module of one's own, whose first layer is unknown: those that fit most arrays."""
    kernels = [tuple(value.shape) for name, value in arrays.items() if name.endswith("/kernel")]
    inputs = {channels_of(shape, Naming(None), size) for shape in kernels}
    wrong: dict[int, int] = {}
    for channels in (3, *sorted({1} | {c for c in inputs if c} - {3})):
        try:
            wanted = shapes(model, size, channels)
        except (TypeError, ValueError):  # a module may take only some numbers of channels
            continue
        fits = [_shape(arrays.get("/".join(path))) == v.shape for path, v in wanted.items()]
        wrong[channels] = fits.count(False)
        if all(fits):
            break
    return min(wrong, key=wrong.__getitem__, default=3)


def _shape(array: Any) -> tuple[int, ...] | None:
    return None if array is None else tuple(array.shape)


def size_hint(paths: Iterable[Path], model: nn.Module, size: Size) -> list[str]:
    """How to name the image size, if one of the arrays has a shape that depends on it."""
    channels = usual_channels(model)
    here, there = (shapes(model, s, channels) for s in (size, (2 * size[0], 2 * size[1])))
    if all(here[path].shape == there[path].shape for path in paths):
        return []
    hint = f"Images of another size than {size[0]} x {size[1]}? image_size=(height, width) names it"
    if not tables(model, size):
        return [f"{hint}."]
    return [f"{hint}; load_network takes it from preprocess=, or from input_size in config.json."]
