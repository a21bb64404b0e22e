"""One policy for every kind of image file."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from jaxcnn.data import UndecodableImage, decode, open_source

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
GRAY = RGB[..., 0]


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601 in 16-bit fixed point, as Pillow documents it for mode L."""
    weights = np.array([19595, 38470, 7471])
    return ((rgb.astype(np.int64) @ weights + 0x8000) >> 16).astype(np.uint8)


def test_colour_stays_and_becomes_luma_for_one_channel(to_bytes):
    data = to_bytes(RGB)
    np.testing.assert_array_equal(decode(data, 3), RGB)
    np.testing.assert_array_equal(decode(data, 1), luma(RGB)[..., None])


def test_gray_is_repeated_for_three_channels(to_bytes):
    data = to_bytes(GRAY)
    np.testing.assert_array_equal(decode(data, 1), GRAY[..., None])
    np.testing.assert_array_equal(decode(data, 3), np.repeat(GRAY[..., None], 3, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_dropped(to_bytes, channels):
    alpha = RNG.integers(0, 256, (5, 7, 1), np.uint8)
    rgba = to_bytes(np.concatenate([RGB, alpha], axis=2))
    np.testing.assert_array_equal(decode(rgba, channels), decode(to_bytes(RGB), channels))
    la = to_bytes(np.concatenate([GRAY[..., None], alpha], axis=2))
    np.testing.assert_array_equal(decode(la, channels), decode(to_bytes(GRAY), channels))


@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 100, 255])])
def test_palettes_are_looked_up_whatever_their_transparency(to_bytes, transparency):
    colours = np.array([[10, 20, 30], [200, 0, 100], [0, 255, 7]], np.uint8)
    entries = RNG.integers(0, 3, (5, 7), np.uint8)
    image = Image.new("P", (7, 5))
    image.putpalette(colours.tobytes())
    image.frombytes(entries.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    data = to_bytes(image, "PNG", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode(data, 3), colours[entries])
        np.testing.assert_array_equal(decode(data, 1), luma(colours[entries])[..., None])


def test_cmyk_is_converted_by_the_plain_formula(to_bytes):
    cmyk = Image.new("CMYK", (8, 8), (255, 0, 51, 0))
    data = to_bytes(cmyk, "TIFF")
    assert decode(data, 3)[4, 4].tolist() == [0, 255, 204]
    # A JPEG of Adobe's kind stores the inverse, and the same colour comes out.
    jpeg = decode(to_bytes(cmyk, "JPEG", quality=100), 3)
    assert np.abs(jpeg[4, 4].astype(int) - [0, 255, 204]).max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_and_not_clipped(to_bytes, channels):
    wide = np.array([[0, 128, 300, 32768, 65407, 65535]], np.uint16)
    expected = np.rint(wide / 257).astype(np.uint8)
    assert expected.tolist() == [[0, 0, 1, 128, 255, 255]]
    pgm = b"P5\n6 1\n65535\n" + wide.astype(">u2").tobytes()
    for data in (to_bytes(wide), pgm):
        out = decode(data, channels)
        np.testing.assert_array_equal(out, np.repeat(expected[..., None], channels, axis=2))


def test_a_pgm_is_scaled_by_its_own_white():
    ten_bits = np.array([[0, 512, 1023]], ">u2")
    assert decode(b"P5\n3 1\n1023\n" + ten_bits.tobytes(), 1).squeeze().tolist() == [0, 128, 255]


def test_one_bit_is_black_and_white(to_bytes):
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    np.testing.assert_array_equal(
        decode(to_bytes(Image.fromarray(bits).convert("1")), 1)[..., 0], bits
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_the_exif_orientation_is_applied(to_bytes, orientation, file_format):
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(to_bytes(RGB, file_format, exif=exif), 3), upright)


def test_the_exif_orientation_of_a_jpeg_is_applied(to_bytes):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = to_bytes(RGB, "JPEG"), to_bytes(RGB, "JPEG", exif=exif)
    np.testing.assert_array_equal(decode(turned, 3), np.rot90(decode(plain, 3), -1))


def test_the_first_frame_of_an_animation_is_taken(to_bytes):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = to_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, 3)[0, 0].tolist() == [255, 0, 0]


def test_arrays_follow_the_same_policy():
    np.testing.assert_array_equal(decode(RGB, 3), RGB)
    np.testing.assert_array_equal(decode(RGB, 1)[..., 0], luma(RGB))
    np.testing.assert_array_equal(decode(GRAY, 3)[..., 1], GRAY)
    np.testing.assert_array_equal(decode(GRAY[..., None], 1)[..., 0], GRAY)
    rgba = np.concatenate([RGB, np.zeros_like(RGB[..., :1])], axis=2)
    np.testing.assert_array_equal(decode(rgba, 3), RGB)
    for wrong in (RGB.astype(np.float32), RGB[..., :2], RGB[0, 0]):
        with pytest.raises(UndecodableImage, match=r"Pixels of dtype|2 channels"):
            decode(wrong, 3)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_truncated_file_is_an_error(to_bytes, file_format):
    image = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    data = to_bytes(image, file_format)
    with pytest.raises(UndecodableImage):
        decode(data[: len(data) * 2 // 3], 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The 0 bytes are no image in a known format"),
        (b"no image at all", "The 15 bytes are no image in a known format"),
        (b"\xff\xd8\xff\xe0 nor this", "OSError: Truncated File Read"),
    ],
)
def test_what_is_no_image_is_an_error(data, message):
    with pytest.raises(UndecodableImage, match=message):
        decode(data, 3)


def test_truncation_is_an_error_even_where_pillow_is_told_to_fill_up(to_bytes, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UndecodableImage, match="Set it to False"):
        decode(to_bytes(RGB), 3)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(to_bytes):
    bomb = to_bytes(Image.new("1", (9000, 9000)))
    assert len(bomb) < 50_000
    with pytest.raises(UndecodableImage, match=r"9000 x 9000 pixels are more than.*67108864"):
        decode(bomb, 1)
    with pytest.raises(UndecodableImage, match="5 pixels are more than the limit of 34"):
        decode(to_bytes(RGB), 3, max_pixels=34)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_larger_bomb_is_refused_too(to_bytes):
    with pytest.raises(UndecodableImage):
        decode(to_bytes(Image.new("1", (20000, 10000))), 1)


def test_pixels_without_a_defined_white_are_refused(to_bytes):
    with pytest.raises(UndecodableImage, match=r"mode 'F'.*no defined white"):
        decode(to_bytes(Image.fromarray(RNG.random((3, 3), np.float32)), "TIFF"), 1)
    with pytest.raises(UndecodableImage, match=r"mode 'I'.*no defined white"):
        decode(to_bytes(Image.fromarray(np.ones((3, 3), np.int32)), "TIFF"), 1)


def test_jpegs_decode_as_pillow_does_bit_for_bit(shared):
    for name in ("cifar10_jpeg", "imagenet_sample"):
        source = open_source(name, "test", data_dir=shared / "tfds")
        for i in range(0, len(source), len(source) // 20):
            data = source[i].image
            expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            np.testing.assert_array_equal(decode(data, 3), expected)


def test_sixteen_bit_colour_gives_its_upper_byte():
    # Pillow cannot write such a file, so it is put together here: one filter byte for each row.
    wide = RNG.integers(0, 65536, (3, 4, 3)).astype(">u2")

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    pixels = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    png += chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(png, 3), wide >> 8)
