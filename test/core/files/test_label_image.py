from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import FrameError
from semla_ros.core.files.label_image import decode_labels, read_labels

LIMIT = 10_000


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _packed(row: np.ndarray, depth: int) -> bytes:
    """The values of a row, the first one in the highest bits."""
    bits = np.unpackbits(row[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()


def _palette_png(ids: np.ndarray, palette: np.ndarray, *, depth: int = 8, kind: int = 3) -> bytes:
    height, width = ids.shape
    rows = b"".join(b"\0" + _packed(row, depth) for row in ids)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
        + (_chunk(b"PLTE", palette.tobytes()) + _chunk(b"tRNS", bytes(len(palette)))) * (kind == 3)
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ids_come_back_as_stored(dtype: type) -> None:
    ids = np.arange(48).reshape(6, 8).astype(dtype) * (1 if dtype == np.uint8 else 700)
    assert np.array_equal(decode_labels(_png(ids), max_pixels=LIMIT), ids)


def test_a_palette_gives_its_indices() -> None:
    ids = np.random.default_rng(0).integers(0, 66, (9, 13), dtype=np.uint8)
    palette = np.zeros((256, 3), np.uint8)  # every colour the same: only the index tells
    assert np.array_equal(decode_labels(_palette_png(ids, palette), max_pixels=LIMIT), ids)


@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_ids_of_few_bits_come_back_as_stored(depth: int, kind: int) -> None:
    ids = np.random.default_rng(0).integers(0, 1 << depth, (9, 13), dtype=np.uint8)
    palette = np.zeros((1 << depth, 3), np.uint8)
    data = _palette_png(ids, palette, depth=depth, kind=kind)
    assert np.array_equal(decode_labels(data, max_pixels=LIMIT), ids)


def test_a_git_lfs_pointer_is_named() -> None:
    with pytest.raises(FrameError, match="git lfs pull"):
        decode_labels(b"version https://git-lfs.github.com/spec/v1\n", max_pixels=LIMIT)


def test_colours_are_rgb() -> None:
    rgb = np.array([[[1, 2, 3], [250, 0, 9]]], np.uint8)
    assert np.array_equal(decode_labels(_png(rgb[..., ::-1]), max_pixels=LIMIT), rgb)


def test_jpegs_and_damage_are_refused(tmp_path: Path) -> None:
    image = np.zeros((8, 8), np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    whole = _png(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    for data, message in ((jpeg, "lossless"), (b"", "0 bytes"), (whole[:40], "truncated")):
        (tmp_path / "x.png").write_bytes(data)
        with pytest.raises(FrameError, match=f"x.png.*{message}"):
            read_labels(tmp_path / "x.png", max_pixels=LIMIT)
    with pytest.raises(FrameError, match="expected at most 10 pixels"):
        decode_labels(_png(image), max_pixels=10)
    with pytest.raises(FrameError, match="cannot be read"):
        read_labels(tmp_path / "none.png", max_pixels=LIMIT)
