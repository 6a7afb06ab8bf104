"""image_codec: every encoding against a reference of its own, every malformed input refused."""

import array
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import FrameError
from semla_ros.core.files.compressed_image import decode_compressed
from semla_ros.core.files.image_codec import RAW_ENCODINGS, dark_note, decode_image, decode_raw

MAX = 1_000_000
RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def smooth(height=48, width=64):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)


def raw(pixels, encoding, /, *, padding=0, bigendian=False, wrap=bytes, **changes):
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if bigendian else "<")).tobytes()
    row = len(rows) // height
    data = b"".join(rows[i * row : (i + 1) * row] + b"\xee" * padding for i in range(height))
    fields = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "step": row + padding,
        "is_bigendian": bigendian,
        "max_pixels": MAX,
    }
    return decode_raw(wrap(data), **(fields | changes))


def with_alpha(pixels):
    return np.dstack([pixels, RNG.integers(0, 256, pixels.shape[:2], dtype=pixels.dtype)])


def gray_of(pixels):
    return np.repeat(pixels[..., None], 3, axis=-1)


def limited_yuv(y, u, v):
    """ITU-R BT.601, limited range; Source: the standard's inverse matrix."""
    y, u, v = 1.164 * (y.astype(float) - 16), u.astype(float) - 128, v.astype(float) - 128
    rgb = np.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u], axis=-1)
    return np.rint(rgb.clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("wrap", [bytes, lambda b: array.array("B", b), memoryview])
@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        ("rgb8", RGB, RGB),
        ("bgr8", RGB[..., ::-1], RGB),
        ("rgba8", with_alpha(RGB), RGB),
        ("bgra8", with_alpha(RGB[..., ::-1]), RGB),
        ("mono8", RGB[..., 0], gray_of(RGB[..., 0])),
        ("8UC1", RGB[..., 0], gray_of(RGB[..., 0])),
        ("8UC3", RGB[..., ::-1], RGB),
        ("8UC4", with_alpha(RGB[..., ::-1]), RGB),
    ],
)
def test_eight_bits(encoding, stored, expected, padding, wrap):
    got = raw(stored, encoding, padding=padding, wrap=wrap)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "rgb16", "bgr16", "rgba16", "bgra16"])
def test_sixteen_bits_in_both_byte_orders(encoding, padding, bigendian):
    wide = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    stored = {"m": wide[..., 0], "1": wide[..., 0], "r": wide, "b": wide[..., ::-1]}[encoding[0]]
    if "a16" in encoding:
        stored = with_alpha(stored)
    expected = np.rint(wide * (255 / 65535)).astype(np.uint8)
    if stored.ndim == 2:
        expected = gray_of(expected[..., 0])
    got = raw(stored, encoding, padding=padding, bigendian=bigendian)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv422(encoding):
    y = RNG.integers(16, 236, (4, 6), dtype=np.uint8)
    chroma = RNG.integers(60, 190, (4, 3, 2), dtype=np.uint8)
    packed = np.empty((4, 6, 2), np.uint8)
    luma = 1 if encoding in ("yuv422", "uyvy") else 0
    packed[..., luma] = y
    packed[..., 1 - luma] = chroma.reshape(4, 6)
    u, v = np.repeat(chroma[..., 0], 2, axis=1), np.repeat(chroma[..., 1], 2, axis=1)
    got = raw(packed, encoding, padding=4)
    assert np.abs(got.astype(int) - limited_yuv(y, u, v)).max() <= 2


def planes(order, *, chroma_scale):
    y = np.repeat(np.repeat(RNG.integers(16, 236, (3, 4), dtype=np.uint8), 2, 0), 2, 1)
    chroma = RNG.integers(60, 190, (6 // chroma_scale, 8 // chroma_scale, 2), dtype=np.uint8)
    u, v = (
        np.repeat(np.repeat(chroma[..., i], chroma_scale, 0), chroma_scale, 1)
        for i in (order.index("u"), order.index("v"))
    )
    return y, u, v, np.vstack([y, chroma.reshape(-1, 8)])


@pytest.mark.parametrize("step_of_all_planes", [False, True])
@pytest.mark.parametrize(
    ("encoding", "order", "scale"), [("nv12", "uv", 2), ("nv21", "vu", 2), ("nv24", "uv", 1)]
)
def test_planes_of_colours_below_the_luma(encoding, order, scale, step_of_all_planes):
    y, u, v, stored = planes(order, chroma_scale=scale)
    step = len(stored) * 8 // 6 if step_of_all_planes else 8
    got = raw(stored, encoding, height=6, step=step)
    assert np.abs(got.astype(int) - limited_yuv(y, u, v)).max() <= 2


@pytest.mark.parametrize(
    ("encoding", "rows", "changes"),
    [
        ("nv12", 9, {"height": 5}),
        ("nv12", 8, {"height": 6}),
        ("nv21", 9, {"height": 6, "width": 10}),
        ("nv24", 9, {"height": 6}),
        ("nv12", 9, {"height": 6, "step": 7}),
    ],
)
def test_planes_of_another_size_are_refused(encoding, rows, changes):
    with pytest.raises(FrameError, match="expected"):
        raw(np.zeros((rows, 8), np.uint8), encoding, **changes)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_values_of_fewer_bits_use_the_whole_range(bits):
    full = 2**bits - 1
    stored = np.array([[0, full // 3, full, 65535]], np.uint16)
    got = raw(stored, "mono16", significant_bits=bits)
    np.testing.assert_array_equal(got[0, :, 0], [0, 85, 255, 255])


def test_darkness_of_sixteen_bits_is_told_and_that_of_eight_is_not():
    dark = raw(np.full((4, 4), 4000, np.uint16), "mono16")
    assert "significant_bits" in dark_note(dark, "mono16", 16)
    assert "significant_bits" in dark_note(dark, "mono16; png compressed ", 16)
    assert dark_note(dark, "mono16", 12) == ""
    assert dark_note(dark, "mono8", 16) == ""
    assert dark_note(np.zeros_like(dark), "mono16", 16) == ""
    assert dark_note(raw(np.full((4, 4), 9000, np.uint16), "mono16"), "mono16", 16) == ""


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("depth", [8, 16])
def test_bayer_keeps_a_flat_colour(pattern, depth):
    color = {"r": 200, "g": 120, "b": 40}
    mosaic = np.zeros((8, 10), np.uint16)
    for i, letter in enumerate(pattern):
        mosaic[i // 2 :: 2, i % 2 :: 2] = color[letter]
    stored = mosaic.astype(np.uint8) if depth == 8 else mosaic * 257
    got = raw(stored, f"bayer_{pattern}{depth}")
    assert (got[2:-2, 2:-2] == (200, 120, 40)).all()


@pytest.mark.parametrize("bigendian", [False, True])
def test_a_message_is_decoded_by_its_own_fields(bigendian):
    wide = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    rows = wide.astype(">u2" if bigendian else "<u2").view(np.uint8)
    message = SimpleNamespace(
        data=np.pad(rows, ((0, 0), (0, 6))).tobytes(),
        height=5,
        width=7,
        encoding="mono16",
        step=20,
        is_bigendian=bigendian,
    )
    expected = gray_of(np.rint(wide * (255 / 65535)).astype(np.uint8))
    np.testing.assert_array_equal(decode_image(message, max_pixels=35), expected)
    with pytest.raises(FrameError, match="at most 34 pixels"):
        decode_image(message, max_pixels=34)


def test_plain_rgb8_is_not_copied():
    data = bytearray(RGB.tobytes())
    got = raw(RGB, "rgb8", wrap=lambda b: data)
    data[0] = 255 - data[0]
    assert got[0, 0, 0] == data[0]


def test_all_equal_image_is_an_image():
    assert (raw(np.zeros((4, 4, 3), np.uint8), "rgb8") == 0).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"height": 0}, "at least one pixel, got 8 x 0"),
        ({"width": 0}, "at least one pixel, got 0 x 6"),
        ({"height": 7}, "step x height = 24 x 7 = 168 bytes, got 144"),
        ({"height": 5}, "got 144"),
        ({"step": 0}, "step of at least 24"),
        ({"step": 23}, "step of at least 24"),
        ({"step": 25}, "expected step x height"),
        ({"encoding": "32FC1"}, "got '32FC1'"),
        ({"encoding": ""}, "got ''"),
        ({"max_pixels": 47}, "at most 47 pixels, got 8 x 6 = 48"),
        ({"width": 2**31, "height": 2**31, "step": 2**32}, "at most 1000000 pixels"),
    ],
)
def test_malformed_raw_is_refused(changes, says):
    with pytest.raises(FrameError, match=says):
        raw(RGB, "rgb8", **changes)


@pytest.mark.parametrize(("encoding", "width"), [("rgb8", 1), ("mono8", 1), ("yuyv", 2)])
def test_the_smallest_image_is_an_image(encoding, width):
    channels = {"rgb8": (3,), "mono8": (), "yuyv": (2,)}[encoding]
    got = raw(np.full((1, width, *channels), 128, np.uint8), encoding)
    assert got.shape == (1, width, 3)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_the_smallest_file_is_an_image(kind):
    data = encoded(np.full((1, 1, 3), 128, np.uint8), kind)
    assert decode_compressed(data, "", max_pixels=1).tolist() == [[[128] * 3]]


def test_as_many_pixels_as_are_allowed_are_decoded():
    np.testing.assert_array_equal(raw(RGB, "rgb8", max_pixels=48), RGB)
    np.testing.assert_array_equal(decode_compressed(png(), "png", max_pixels=48)[..., ::-1], RGB)
    with pytest.raises(FrameError, match="at most 47 pixels, got 8 x 6 = 48"):
        decode_compressed(png(), "png", max_pixels=47)


def test_odd_width_of_yuv_is_refused():
    with pytest.raises(FrameError, match="even width"):
        raw(np.zeros((4, 5, 2), np.uint8), "yuyv")


def test_every_listed_encoding_decodes():
    for name in RAW_ENCODINGS:
        step = {"nv12": 6, "nv21": 6, "nv24": 12}.get(name, 32)
        data = bytes(4 * step)
        got = decode_raw(
            data, height=4, width=4, encoding=name, step=step, is_bigendian=False, max_pixels=MAX
        )
        assert got.shape == (4, 4, 3), name


def encoded(image, kind):
    return cv2.imencode(kind, image)[1].tobytes()


@pytest.mark.parametrize(
    "format_", ["jpeg", "jpg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", ""]
)
def test_jpeg(format_):
    image = smooth()
    got = decode_compressed(encoded(image[..., ::-1], ".jpg"), format_, max_pixels=MAX)
    assert got.shape == image.shape
    assert np.abs(got.astype(int) - image).mean() < 3


@pytest.mark.parametrize("format_", ["png", "bgr8; png compressed bgr8", "jpeg"])
def test_png_is_exact_whatever_the_format_claims(format_):
    got = decode_compressed(encoded(RGB[..., ::-1], ".png"), format_, max_pixels=MAX)
    np.testing.assert_array_equal(got, RGB)


def test_colours_stored_exchanged_come_back():
    got = decode_compressed(encoded(RGB, ".png"), "rgb8; png compressed rgb8", max_pixels=MAX)
    np.testing.assert_array_equal(got, RGB)


def test_gray_alpha_and_sixteen_bit_pngs():
    gray = decode_compressed(
        encoded(RGB[..., 0], ".png"), "mono8; png compressed ", max_pixels=MAX
    )
    np.testing.assert_array_equal(gray, gray_of(RGB[..., 0]))
    alpha = decode_compressed(encoded(with_alpha(RGB[..., ::-1]), ".png"), "png", max_pixels=MAX)
    np.testing.assert_array_equal(alpha, RGB)
    wide = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    deep = decode_compressed(encoded(wide, ".png"), "16UC1; png compressed ", max_pixels=MAX)
    np.testing.assert_array_equal(deep, gray_of(np.rint(wide * (255 / 65535)).astype(np.uint8)))


def test_gray_jpeg():
    got = decode_compressed(
        encoded(smooth()[..., 0], ".jpg"), "mono8; jpeg compressed ", max_pixels=MAX
    )
    assert (got[..., 0] == got[..., 2]).all()


def test_zero_padding_after_a_jpeg_is_accepted():
    data = encoded(smooth(), ".jpg") + bytes(64)
    assert decode_compressed(data, "jpeg", max_pixels=MAX).shape == (48, 64, 3)


def jpeg():
    return encoded(smooth(), ".jpg")


def png():
    return encoded(RGB, ".png")


def patched(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def huge_png_header():
    """A valid header that claims 60000 x 60000 pixels."""
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return png()[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png()[33:]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"", "JPEG, PNG or WebP"),
        (lambda: b"\x00\x00\x00\x01\x67", "00 00 00 01 67"),
        (lambda: jpeg()[: len(jpeg()) // 2], "truncated JPEG"),
        (lambda: jpeg()[:-2], "truncated JPEG"),
        (lambda: jpeg()[:30] + b"\xff\xd9", "no frame header"),
        (lambda: b"\xff\xd8\xff\xd9", "no frame header"),
        (lambda: b"\xff\xd8" + b"\xff" * 500 + b"\xff\xd9", "JPEG"),
        (lambda: png()[: len(png()) // 2], "truncated PNG"),
        (lambda: png()[:20], "damaged PNG"),
        (lambda: patched(png(), 60, b"\x5a\xa5"), "checksum"),
        (lambda: huge_png_header(), "at most 1000000 pixels"),
    ],
)
def test_damaged_files_are_refused(make, says):
    with pytest.raises(FrameError, match=says):
        decode_compressed(make(), "jpeg", max_pixels=MAX)


JPEG_HEADS = {
    "Exif": b"\xff\xe1" + (302).to_bytes(2, "big") + bytes(300),
    "an empty comment": b"\xff\xfe\x00\x02",
    "a size in a comment": b"\xff\xfe\x00\x0c\xff\xc0\x00\x11\x08\xff\xdc\xff\xdc\x03",
    "fill bytes": b"\xff\xff\xff\xff\xfe\x00\x03x",
    "a marker alone": b"\xff\x01",
}


@pytest.mark.parametrize("head", JPEG_HEADS)
def test_what_stands_before_the_frame_header_is_passed_over(head):
    expected = decode_compressed(jpeg(), "jpeg", max_pixels=MAX)
    data = jpeg()[:2] + JPEG_HEADS[head] + jpeg()[2:]
    np.testing.assert_array_equal(decode_compressed(data, "jpeg", max_pixels=MAX), expected)


def test_a_progressive_jpeg_with_restarts():
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    data = cv2.imencode(".jpg", smooth()[..., ::-1], options)[1].tobytes()
    got = decode_compressed(data, "jpeg", max_pixels=MAX)
    assert np.abs(got.astype(int) - smooth()).mean() < 3


@pytest.mark.parametrize(
    ("at", "value"), [(5, b"\x00\x00"), (7, b"\x00\x00"), (9, b"\x04"), (9, b"\x02")]
)
def test_a_jpeg_without_pixels_or_for_a_printer_is_refused(at, value):
    data = jpeg()
    with pytest.raises(FrameError, match="1 or 3 channels"):
        decode_compressed(
            patched(data, data.index(b"\xff\xc0") + at, value), "jpeg", max_pixels=MAX
        )


def png_of(width, height, colour, *chunks):
    """Return a PNG of 8 bits with the given colour type and further chunks."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, colour, 0, 0, 0])
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in parts
    )


@pytest.mark.parametrize(
    ("colour", "palette", "pixel"),
    [
        (0, (), [7]),
        (2, (), [7, 8, 9]),
        (3, (1, 2, 3, 7, 8, 9), [1]),
        (4, (), [7, 0]),
        (6, (), [7, 8, 9, 0]),
    ],
)
def test_every_colour_type_of_png(colour, palette, pixel):
    chunks = [(b"PLTE", bytes(palette))] if palette else []
    chunks.append((b"IDAT", zlib.compress(bytes([0, *pixel]))))
    got = decode_compressed(png_of(1, 1, colour, *chunks), "png", max_pixels=1)
    assert got.tolist() == [[[7, 7, 7] if colour in (0, 4) else [7, 8, 9]]]


@pytest.mark.parametrize(("width", "height", "colour"), [(0, 1, 2), (1, 0, 2), (1, 1, 5)])
def test_a_png_without_pixels_or_of_no_known_colour_is_refused(width, height, colour):
    with pytest.raises(FrameError, match="damaged PNG"):
        decode_compressed(png_of(width, height, colour), "png", max_pixels=MAX)


def test_a_png_cut_at_any_byte_is_refused():
    for length in range(8, len(png())):
        with pytest.raises(FrameError, match="PNG"):
            decode_compressed(png()[:length], "png", max_pixels=MAX)


def test_a_huge_jpeg_is_refused_by_its_header():
    data = jpeg()
    at = data.index(b"\xff\xc0") + 5
    with pytest.raises(FrameError, match="at most 1000000 pixels, got 65500 x 65500"):
        decode_compressed(patched(data, at, b"\xff\xdc\xff\xdc"), "jpeg", max_pixels=MAX)


def test_depth_is_refused():
    with pytest.raises(FrameError, match="depth"):
        decode_compressed(png(), "16UC1; compressedDepth png", max_pixels=MAX)


def test_random_bytes_never_do_anything_but_frame_error():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        data = bytearray(jpeg() if seed % 2 else png())
        for at in rng.integers(0, len(data), 6):
            data[at] = int(rng.integers(0, 256))
        try:
            got = decode_compressed(bytes(data), "jpeg", max_pixels=MAX)
        except FrameError:
            continue
        assert got.ndim == 3
