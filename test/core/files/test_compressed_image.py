"""compressed_image: mosaics, what follows a picture, orientation, and what is no picture."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from pictures import encoded, smooth, turned_jpeg, turned_png, turned_webp

from semla_ros.core.errors import FrameError
from semla_ros.core.files.compressed_image import decode_compressed, decode_file
from semla_ros.core.files.image_codec import decode_raw

MAX = 1_000_000
PICTURE = smooth()


def mosaic(pattern, depth):
    """What a sensor of this pattern sees of the picture."""
    rgb = PICTURE.astype(np.uint16) * (257 if depth == 16 else 1)
    seen = np.empty(rgb.shape[:2], np.uint16)
    for i, letter in enumerate(pattern):
        seen[i // 2 :: 2, i % 2 :: 2] = rgb[i // 2 :: 2, i % 2 :: 2, "rgb".index(letter)]
    return seen if depth == 16 else seen.astype(np.uint8)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_packed_mosaic_gives_the_colours_of_the_raw_one(pattern, depth):
    stored, name = mosaic(pattern, depth), f"bayer_{pattern}{depth}"
    raw = decode_raw(
        stored.tobytes(),
        height=48,
        width=64,
        encoding=name,
        step=64 * depth // 8,
        is_bigendian=False,
        max_pixels=MAX,
    )
    png = decode_compressed(encoded(stored, ".png"), f"{name}; png compressed ", max_pixels=MAX)
    np.testing.assert_array_equal(png, raw)
    assert np.abs(png[2:-2, 2:-2].astype(int) - PICTURE[2:-2, 2:-2]).mean() < 5


def test_a_mosaic_in_a_jpeg_is_coloured_and_a_coloured_one_left():
    flat = np.zeros((48, 64), np.uint8)
    flat[::2, ::2], flat[::2, 1::2], flat[1::2, ::2], flat[1::2, 1::2] = 200, 120, 120, 40
    data = encoded(flat, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100)
    got = decode_compressed(data, "bayer_rggb8; jpeg compressed ", max_pixels=MAX)
    assert np.abs(got[4:-4, 4:-4].astype(int) - (200, 120, 40)).max() < 12
    coloured = decode_compressed(
        encoded(PICTURE, ".png"), "bayer_rggb8; png compressed bgr8", max_pixels=MAX
    )
    np.testing.assert_array_equal(coloured, PICTURE)


def jpegs():
    plain = encoded(PICTURE, ".jpg")
    progressive = encoded(PICTURE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    restarts = encoded(PICTURE, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    return {"plain": plain, "progressive": progressive, "restarts": restarts}


@pytest.mark.parametrize("kind", ["plain", "progressive", "restarts"])
@pytest.mark.parametrize(
    "tail",
    [
        b"\r\n",
        bytes(3),
        b"DHAV\x00\x01\x02\x03",
        encoded(PICTURE[::-1], ".jpg"),
        b"\xff",
        b"\xff\xd8",
    ],
)
def test_what_follows_a_whole_jpeg_is_left_out(kind, tail):
    data = jpegs()[kind]
    expected = decode_compressed(data, "jpeg", max_pixels=MAX)
    got = decode_compressed(data + tail, "jpeg", max_pixels=MAX)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", ["plain", "progressive", "restarts"])
@pytest.mark.parametrize("tail", [b"", b"DHAV\x00\x01\x02\x03", encoded(PICTURE, ".jpg")])
def test_a_cut_jpeg_is_refused_whatever_follows(kind, tail):
    data = jpegs()[kind]
    with pytest.raises(FrameError, match="truncated JPEG"):
        decode_compressed(data[: len(data) * 2 // 3] + tail, "jpeg", max_pixels=MAX)


def test_a_thumbnail_s_end_is_not_the_picture_s():
    inside = b"Exif\x00\x00" + encoded(PICTURE[:8, :8], ".jpg")
    data = jpegs()["plain"]
    segment = b"\xff\xe1" + (len(inside) + 2).to_bytes(2, "big") + inside
    got = decode_compressed(data[:2] + segment + data[2:] + b"tail", "jpeg", max_pixels=MAX)
    np.testing.assert_array_equal(got, decode_compressed(data, "jpeg", max_pixels=MAX))


@pytest.mark.parametrize("stray", [b"\xff\x00", b"\xff\xff", b"\x12\x34", b"\xff\xd0"])
def test_stray_bytes_between_segments_hide_no_size(stray):
    """libjpeg passes over them, so the size is that of the header behind them."""
    data = jpegs()["plain"]
    small = b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00"
    at = data.index(b"\xff\xc0")
    huge = data[2 : at + 5] + b"\x7d\x00\x7d\x00" + data[at + 9 :]
    hidden = data[:2] + stray + len(small).to_bytes(2, "big") + huge
    with pytest.raises(FrameError, match="at most 1000000 pixels, got 32000 x 32000"):
        decode_compressed(hidden, "jpeg", max_pixels=MAX)


ORIENTATIONS = range(1, 9)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_jpeg_file_is_turned_as_opencv_turns_it(orientation, order):
    data = turned_jpeg(PICTURE, orientation, order)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decode_file(data, "a.jpg", max_pixels=MAX), seen[..., ::-1])


@pytest.mark.parametrize("make", [turned_png, turned_webp])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_png_and_webp_files_are_turned_like_jpegs(make, orientation):
    reference = decode_file(turned_jpeg(PICTURE, orientation), "a.jpg", max_pixels=MAX)
    got = decode_file(make(PICTURE, orientation), "a", max_pixels=MAX)
    assert got.shape == reference.shape
    assert np.abs(got.astype(int) - reference).mean() < 3


def test_a_stream_keeps_the_camera_s_pixels_whatever_exif_says():
    data = turned_jpeg(PICTURE, 6)
    got = decode_compressed(data, "jpeg", max_pixels=MAX)
    assert got.shape == PICTURE.shape


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(orientation):
    got = decode_file(turned_jpeg(PICTURE, orientation), "a.jpg", max_pixels=MAX)
    assert got.shape == PICTURE.shape


@pytest.mark.parametrize("quality", [80, 101])
def test_webp(quality):
    data = encoded(PICTURE, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)
    got = decode_compressed(data, "webp", max_pixels=MAX)
    assert np.abs(got.astype(int) - PICTURE).mean() < (5 if quality < 100 else 0.1)
    with pytest.raises(FrameError, match="at most 100 pixels, got 64 x 48"):
        decode_compressed(data, "webp", max_pixels=100)
    with pytest.raises(FrameError, match="truncated WebP"):
        decode_compressed(data[:-4], "webp", max_pixels=MAX)


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b"\x00\x00\x00\x01\x67\x42", "h264"),
        (b"\x00\x00\x01\x67\x42", ""),
        (b"\x12\x00\x0a\x0b", "av1"),
        (b"\x00\x00\x00\x01\x40\x01", "bgr8; hevc compressed"),
    ],
)
def test_video_is_named_with_what_converts_it(data, format_):
    with pytest.raises(FrameError, match=r"got video of format.*ffmpeg_image_transport"):
        decode_compressed(data, format_, max_pixels=MAX)


def test_a_git_lfs_pointer_is_named():
    data = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    with pytest.raises(FrameError, match="git lfs pull"):
        decode_file(data, "a.png", max_pixels=MAX)


def segment(marker, body):
    return b"\xff" + bytes((marker,)) + struct.pack(">H", len(body) + 2) + body


def frame_header(jpeg, height, width):
    """Return the frame header of a baseline JPEG with another size."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[at : at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 : at + 19]


def hostile_jpegs():
    plain = encoded(PICTURE, ".jpg")
    at = plain.index(b"\xff\xc0")
    head, own, rest = plain[:at], plain[at : at + 19], plain[at + 19 :]
    large = frame_header(plain, 32000, 32000)
    thumbnail = plain[:2] + segment(0xE2, plain[:600])
    restarted = encoded(PICTURE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scan = restarted[restarted.rindex(b"\xff\xda") : -2]
    return {
        "its size": (head + large + rest, "at most 1000000 pixels"),
        "after a thumbnail": (thumbnail + head[2:] + large + rest, "at most 1000000 pixels"),
        "after a hidden one": (
            head[:2] + b"\xff\x00" + own[2:] + head[2:] + large + rest,
            "at most",
        ),
        "first of two": (head + large + own + rest, "at most 1000000 pixels"),
        "second of two": (head + own + large + rest, "decoded nothing"),
        "after the scan": (plain[:-2] + large + plain[-2:], "truncated"),
        "in a DNL": (head + frame_header(plain, 0, 64) + rest, "64 x 0"),
        "a segment without length": (head + b"\xff\xfe\x00\x00" + large + rest, "damaged"),
        "scans without end": (restarted[:-2] + scan[:14] * 200 + restarted[-2:], "100 scans"),
    }


@pytest.mark.parametrize("kind", hostile_jpegs())
def test_a_jpeg_of_another_size_than_it_seems_is_refused(kind):
    data, message = hostile_jpegs()[kind]
    with pytest.raises(FrameError, match=message):
        decode_compressed(data, "jpeg", max_pixels=MAX)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def hostile_pngs():
    png = encoded(PICTURE, ".png")
    head, rest = png[:33], png[33:]
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    endless = chunk(b"IDAT", zlib.compress(np.random.default_rng(0).bytes(300_000)))
    return {
        "two headers": (head + large + rest, "several"),
        "animated": (head + chunk(b"acTL", bytes(8)) + rest, "animation"),
        "frame": (head + chunk(b"fcTL", bytes(26)) + rest, "animation"),
        "a chunk of 4 GB": (head + b"\xff\xff\xff\xf0IDAT" + rest, "truncated"),
        "more than its pixels": (head + endless + rest, "packed bytes"),
        "large": (png[:8] + large + rest, "at most 1000000 pixels"),
    }


@pytest.mark.parametrize("kind", hostile_pngs())
def test_a_png_of_more_than_one_picture_is_refused(kind):
    data, message = hostile_pngs()[kind]
    with pytest.raises(FrameError, match=message):
        decode_compressed(data, "png", max_pixels=MAX)


def riff(*chunks):
    body = b"WEBP" + b"".join(
        k + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for k, b in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_a_webp_has_one_picture_of_the_canvas_s_size():
    plain = encoded(PICTURE, ".webp", cv2.IMWRITE_WEBP_QUALITY, 50)
    picture = (plain[12:16], plain[20 : 20 + struct.unpack("<I", plain[16:20])[0]])

    def canvas(width, height, flags=0):
        sizes = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        return b"VP8X", bytes((flags, 0, 0, 0)) + sizes

    got = decode_compressed(riff(canvas(64, 48), picture), "webp", max_pixels=MAX)
    assert got.shape == PICTURE.shape
    for chunks, message in (
        ((canvas(16000, 16000), picture), "of one size"),
        ((canvas(64, 48), picture, picture), "several"),
        ((canvas(64, 48, 2), (b"ANIM", bytes(6)), picture), "animation"),
        ((canvas(64, 48),), "truncated|of one size"),
    ):
        with pytest.raises(FrameError, match=message):
            decode_compressed(riff(*chunks), "webp", max_pixels=MAX)
