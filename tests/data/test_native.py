"""The compiled JPEG path gives Pillow's pixels, and leaves to Pillow what is not a plain JPEG."""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import EvalLoader, Example, UndecodableImage, open_source, prepare_image
from jaxcnn.data import native as native_module
from jaxcnn.data.decode import decode
from jaxcnn.data.transforms import RandomResizedCrop, draw_random_crop
from jaxcnn.data.view import View, crop_view, draw, draw_with_pillow, evaluation_view
from jaxcnn.preprocess import Preprocess

RNG = np.random.default_rng(0)
FAST = native_module.load()
needs_native = pytest.mark.skipif(FAST is None, reason="built without libjpeg-turbo's headers")

needs_png = pytest.mark.skipif(native_module._png() is None, reason="built without zlib's headers")


def photo(width: int, height: int, channels: int = 3) -> np.ndarray:
    """A smooth picture with some noise, which JPEG neither flattens nor wrecks."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + 3 * c)) + np.cos(y / (5 + 2 * c)) for c in range(channels)]
    noise = RNG.normal(0, 12, (height, width, channels))
    return np.clip(128 + 55 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8).squeeze()


def encode(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def both(data: bytes, view: View, interpolation="bilinear", channels: int = 3):
    width, height = view.window[2] - view.window[0], view.window[3] - view.window[1]
    outs = [np.zeros((height, width, channels), np.uint8) for _ in range(2)]
    draw(data, lambda w, h, jpeg: view, interpolation, outs[0])
    draw_with_pillow(data, lambda w, h, jpeg: view, interpolation, outs[1])
    return outs


@needs_native
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_any_crop_at_any_scale_is_pillows(subsampling, progressive, interpolation):
    data = encode(photo(203, 157), quality=85, subsampling=subsampling, progressive=progressive)
    assert FAST.size(data, 3) == (203, 157)
    for _ in range(40):
        shrink = int(RNG.choice([1, 2, 4, 8]))
        width, height = -(-203 // shrink), -(-157 // shrink)
        left, right = sorted(RNG.choice(width + 1, 2, replace=False).tolist())
        top, bottom = sorted(RNG.choice(height + 1, 2, replace=False).tolist())
        size = (int(RNG.integers(1, 60)), int(RNG.integers(1, 60)))
        x, y = (int(RNG.integers(0, side)) for side in size)
        view = View((left, top, right, bottom), size, (x, y, *size), shrink)
        fast, plain = both(data, view, interpolation)
        np.testing.assert_array_equal(fast, plain, err_msg=str(view))


@needs_native
@pytest.mark.parametrize("channels", [1, 3])
def test_gray_files_are_pillows(channels):
    data = encode(photo(90, 70, 1))
    assert FAST.size(data, channels) == (90, 70)
    for shrink in (1, 2):
        view = View((3, 5, 40, 30), (24, 31), (1, 2, 20, 30), shrink)
        fast, plain = both(data, view, channels=channels)
        np.testing.assert_array_equal(fast, plain)


@needs_native
def test_evaluation_of_photos_is_pillows(shared):
    source = open_source("imagenet_sample", "test", data_dir=shared / "tfds")
    for resize in ("shorter", "squash"):
        record = Preprocess((224, 224), resize=resize, interpolation="bicubic")
        for i in range(0, 100, 9):
            out = np.zeros((224, 224, 3), np.uint8)
            plan = lambda w, h, jpeg: evaluation_view(w, h, record)  # noqa: B023, E731
            draw_with_pillow(source[i].image, plan, "bicubic", out)
            np.testing.assert_array_equal(prepare_image(source[i].image, record), out)


@needs_native
def test_training_crops_of_photos_are_pillows(shared, monkeypatch):
    source = open_source("imagenet_sample", "test", data_dir=shared / "tfds")
    record, crop = Preprocess((96, 96)), RandomResizedCrop()
    shrunk = 0
    for i in range(0, 100, 7):
        outs = [np.zeros((96, 96, 3), np.uint8) for _ in range(2)]
        draw_random_crop(source[i].image, record, crop, (0, 1, i), outs[0])
        with monkeypatch.context() as patch:
            patch.setattr(native_module, "load", lambda: None)
            draw_random_crop(source[i].image, record, crop, (0, 1, i), outs[1])
        np.testing.assert_array_equal(*outs)
        full = np.zeros((96, 96, 3), np.uint8)
        plain = RandomResizedCrop(scaled_decoding=False)
        draw_random_crop(source[i].image, record, plain, (0, 1, i), full)
        difference = np.abs(full.astype(int) - outs[0]).mean()
        shrunk += bool(difference)
        assert difference < 6
    assert shrunk > 4


def test_the_shrink_keeps_the_networks_size_and_the_whole_box():
    record = Preprocess((100, 50))  # height, width
    for width in range(50, 900, 37):
        for height in range(100, 1700, 113):
            box = (13, 29, 13 + width, 29 + height)
            view = crop_view(box, record, may_shrink=True)
            assert view.shrink == max(
                s for s in (1, 2, 4, 8) if s == 1 or (width >= 50 * s and height >= 100 * s)
            )
            left, top, right, bottom = (edge * view.shrink for edge in view.box)
            assert left <= 13 < left + view.shrink and top <= 29 < top + view.shrink
            assert right - view.shrink < box[2] <= right and bottom - view.shrink < box[3] <= bottom
            assert crop_view(box, record, may_shrink=False) == View(box, (50, 100), (0, 0, 50, 100))


@needs_native
def test_what_is_no_plain_jpeg_is_left_to_pillow():
    pixels = photo(40, 30)
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = Image.Exif()
    upright[0x0112] = 1
    assert FAST.size(encode(pixels, exif=upright), 3) == (40, 30)
    cmyk = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(cmyk, "JPEG")
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    whole = encode(pixels)
    left = [encode(pixels, exif=turned), cmyk.getvalue(), png.getvalue(), whole[:-40], b"", b"\xff"]
    assert [FAST.size(data, 3) for data in left] == [None] * len(left)
    assert FAST.size(whole, 1) is None  # colour to gray is Pillow's luma
    record = Preprocess((30, 40), resize="none")
    np.testing.assert_array_equal(
        prepare_image(encode(pixels, exif=turned), Preprocess((40, 30), resize="none")),
        np.rot90(prepare_image(whole, record), -1),
    )


def test_a_turned_photo_is_cropped_upright_at_any_scale():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encode(photo(120, 80), quality=95, exif=turned)
    view = View((0, 0, 40, 60), (40, 60), (0, 0, 40, 60), 2)
    out = np.zeros((60, 40, 3), np.uint8)
    sizes = []
    draw(data, lambda w, h, jpeg: sizes.append((w, h)) or view, "bilinear", out)
    assert sizes == [(80, 120)]
    half = Image.open(io.BytesIO(data))
    half.draft(None, (60, 40))
    np.testing.assert_array_equal(out, np.rot90(np.asarray(half), -1))


@needs_native
def test_a_damaged_jpeg_is_named_as_by_pillow():
    whole = encode(photo(64, 64), quality=95)
    cut = whole[:-200]
    with pytest.raises(UndecodableImage, match="truncated"):
        prepare_image(cut, Preprocess((64, 64), resize="none"))
    # Whatever the bytes are, there is an error or a picture, and never a crash.
    for _ in range(300):
        data = bytearray(whole)
        for place in RNG.integers(2, len(data) - 2, 3):
            data[place] = RNG.integers(0, 256)
        try:
            image = prepare_image(bytes(data), Preprocess((64, 64), resize="squash"))
        except UndecodableImage:
            continue
        assert image.shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(10, 3000), (3000, 10)])
def test_a_narrow_jpeg_is_the_same_with_and_without_the_compiled_path(size, monkeypatch):
    data, preprocess = encode(photo(*size)), Preprocess((224, 224))
    assert max(evaluation_view(*size, preprocess).size) > 65535
    fast = prepare_image(data, preprocess)
    monkeypatch.setattr(native_module, "load", lambda: None)
    np.testing.assert_array_equal(fast, prepare_image(data, preprocess))


@pytest.mark.parametrize("encoded", ["JPEG", "PNG"])
def test_an_image_too_narrow_to_be_resized_is_a_bad_one(encoded):
    file = io.BytesIO()
    Image.fromarray(np.zeros((60_000, 1, 3), np.uint8)).save(file, encoded)
    message = r"1 x 60000 pixels would be resized to 256 x 15360000.*; cut the image"
    with pytest.raises(UndecodableImage, match=message):
        prepare_image(file.getvalue(), Preprocess((224, 224)))


@needs_native
def test_plans_that_do_not_fit_are_refused_or_left():
    data = encode(photo(40, 30))
    out = np.zeros((8, 8, 3), np.uint8)
    draw_native = FAST.draw
    window = (0, 0, 8, 8)
    assert not draw_native(data, out, (0, 0, 41, 30), (8, 8), window, shrink=1, bicubic=False)
    for box, size, shrink in [
        ((0, 0, 40, 30), (8, 7), 1),
        ((0, 0, 0, 30), (8, 8), 1),
        ((-1, 0, 40, 30), (8, 8), 1),
        ((0, 0, 40, 30), (8, 8), 3),
    ]:
        with pytest.raises(ValueError, match="does not fit"):
            draw_native(data, out, box, size, window, shrink=shrink, bicubic=False)


def test_the_switch_turns_it_off(monkeypatch):
    monkeypatch.setenv(native_module.SWITCH, "0")
    assert native_module.load.__wrapped__() is None


@needs_native
def test_a_pillow_of_other_pixels_turns_it_off(monkeypatch):
    resize = Image.Image.resize

    def nudged(picture, size, resample=None, **options):
        return resize(picture, size, resample, **options).point(lambda v: v ^ 1)

    monkeypatch.setattr(Image.Image, "resize", nudged)
    assert native_module.load.__wrapped__() is None


def png(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def filtered(pixels: np.ndarray, filters, parts: int = 1) -> bytes:
    """A PNG whose rows use the given filters in turn, its data cut into some chunks."""
    height, width, channels = pixels.shape
    wide, above, raw = pixels.astype(np.int64), np.zeros((width + 1, channels), np.int64), b""
    for y in range(height):
        row = np.concatenate([np.zeros((1, channels), np.int64), wide[y]])
        left, corner = row[:-1], above[:-1]
        kind, up = filters[y % len(filters)], above[1:]
        guess = left + up - corner
        near = [abs(guess - x) for x in (left, up, corner)]
        paeth = np.where(
            (near[0] <= near[1]) & (near[0] <= near[2]),
            left,
            np.where(near[1] <= near[2], up, corner),
        )
        base = (0 * left, left, up, (left + up) // 2, paeth)[kind]
        raw += bytes([kind]) + ((wide[y] - base) % 256).astype(np.uint8).tobytes()
        above = row
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    data = zlib.compress(raw)
    cuts = np.linspace(0, len(data), parts + 1).astype(int)
    body = [chunk(b"IDAT", data[a:b]) for a, b in itertools.pairwise(cuts)]
    return b"".join([SIGNATURE, chunk(b"IHDR", header), *body, chunk(b"IEND", b"")])


SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def whole(files, shape) -> tuple[np.ndarray, np.ndarray]:
    out = np.zeros((len(files), *shape), np.uint8)
    return native_module.draw_whole(list(files), out), out


@needs_png
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_small_pngs_of_any_filter_are_pillows(channels, filters):
    pixels = RNG.integers(0, 256, (13, 17, channels), np.uint8)
    files = [filtered(pixels, filters), filtered(pixels, filters, parts=5)]
    files.append(png(photo(17, 13, min(channels, 3))))
    done, out = whole(files, (13, 17, 3))
    assert done.all()
    np.testing.assert_array_equal(out[0], np.broadcast_to(pixels[..., :3], (13, 17, 3)))
    for file, found in zip(files, out, strict=True):
        np.testing.assert_array_equal(found, decode(file, 3))
    if channels == 1:
        done, out = whole(files, (13, 17, 1))
        assert done.all() and np.array_equal(out[1], pixels)


@needs_native
@pytest.mark.parametrize("subsampling", [0, 2])
def test_many_small_jpegs_at_once_are_pillows(subsampling):
    files = [encode(photo(33, 29), quality=q, subsampling=subsampling) for q in (30, 75, 96)]
    files.append(encode(photo(33, 29, 1)))
    done, out = whole(files, (29, 33, 3))
    assert done.all()
    for file, found in zip(files, out, strict=True):
        np.testing.assert_array_equal(found, decode(file, 3))


@needs_png
def test_what_is_no_plain_png_of_the_size_is_left_to_pillow():
    pixels = RNG.integers(0, 256, (12, 12, 3), np.uint8)
    plain = png(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = Image.fromarray(pixels).quantize(16)
    files = [
        plain,
        png(pixels, exif=turned),
        png(np.asarray(palette)[:11]),
        plain[:-20],
        plain[:60] + bytes([plain[60] ^ 1]) + plain[61:],
        SIGNATURE,
        b"",
        pixels,
        png(RNG.integers(0, 65536, (12, 12), np.uint16)),
        filtered(pixels, [0])[:-12] + chunk(b"IDAT", b"more") + chunk(b"IEND", b""),
        png(pixels[:11]),
    ]
    file = io.BytesIO()
    palette.save(file, "PNG")
    done, out = whole([*files, file.getvalue()], (12, 12, 3))
    assert done.tolist() == [True] + [False] * len(files)
    np.testing.assert_array_equal(out[0], pixels)
    assert not whole([plain], (12, 12, 1))[0].any()  # colour to gray is Pillow's luma


@needs_png
def test_no_damaged_png_crashes_or_passes_as_whole():
    plain = png(RNG.integers(0, 256, (9, 9, 3), np.uint8))
    for _ in range(2000):
        data = bytearray(plain)
        for place in RNG.integers(0, len(data), RNG.integers(1, 4)):
            data[place] = RNG.integers(0, 256)
        done, _ = whole([bytes(data)], (9, 9, 3))
        assert not done[0] or bytes(data) == plain


def test_a_loader_of_small_files_gives_pillows_pixels_and_names_the_bad_one(monkeypatch):
    files = [png(photo(8, 8)) if i % 3 else encode(photo(8, 8)) for i in range(40)]
    files[11] = files[11][:-30]
    record = Preprocess((8, 8), resize="none")

    class Files:
        name, split, class_names, fingerprint = "files", "train", ("a", "b"), "files"

        def __len__(self):
            return len(files)

        def __getitem__(self, index):
            return Example(files[index], index % 2, str(index))

    def read():
        with EvalLoader(Files(), record, 16, max_bad=1, threads=1) as loader:
            return [dict(rows) for rows in loader], loader.bad_count

    (fast, bad), _ = read(), monkeypatch.setattr(native_module, "draw_whole", draw_nothing)
    slow, bad_too = read()
    assert bad == bad_too == 1
    for one, other in zip(fast, slow, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert not fast[0]["mask"][11] and fast[2]["mask"].tolist() == [True] * 8 + [False] * 8


def draw_nothing(images, out):
    return np.zeros(len(images), bool)
