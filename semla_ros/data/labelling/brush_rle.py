"""Label Studio's run lengths of brush masks: bits that hold an RGBA image, all channels equal.

    32 bits  number of values, 4 for each pixel
     5 bits  bits of a value, less 1 (8)
    4 x 4    bits of a run's length, less 1, of four sizes (3, 4, 8, 16)
    then     1, size (2 bits), length - 1, value: a run; 0, size, length - 1, values: no run

Source: the package rle-pack, which Label Studio uses; label-studio-converter reads the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]

_SIZES = (3, 4, 8, 16)
_WORD = 8
_CHANNELS = 4
_HEAD_BITS = 32 + 5 + 4 * 4
_ON = 255


def brush_rle(mask: BoolArray) -> list[int]:
    """Return the bytes of (H, W) True where the brush was."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges]).astype(int)
    lengths = np.diff(np.concatenate([starts, [flat.size]])) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}", f"{_WORD - 1:05b}", *(f"{s - 1:04b}" for s in _SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = f"{_ON if flat[start] else 0:08b}"
        bits.extend(_run(length, value))
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0")).tolist()  # type: ignore[no-any-return]


def mask_of_rle(rle: list[int], *, height: int, width: int) -> BoolArray:
    """Return (H, W) True where a brush was: alpha above half, as Label Studio shows it.

    Raises:
        ValueError: The bytes are no run lengths of an image of this size.
    """
    if not isinstance(rle, list) or not all(type(v) is int and 0 <= v <= 255 for v in rle):
        raise ValueError("expected run lengths as a list of bytes")
    text = "".join(f"{value:08b}" for value in rle)
    count = height * width * _CHANNELS
    if len(text) < _HEAD_BITS or int(text[:32], 2) != count:
        found = int(text[:32], 2) if len(text) >= _HEAD_BITS else 0
        raise ValueError(f"expected run lengths of {count} values, 4 a pixel, got {found}")
    word = int(text[32:37], 2) + 1
    sizes = [int(text[37 + 4 * i : 41 + 4 * i], 2) + 1 for i in range(4)]
    values = np.empty(count, np.uint8)
    at, place = _HEAD_BITS, 0
    while place < count:
        run, size = text[at : at + 1], sizes[int(text[at + 1 : at + 3] or "0", 2)]
        head = at + 3 + size
        if head + word > len(text):
            raise ValueError(f"run lengths end after {place} of {count} values")
        length = int(text[at + 3 : head], 2) + 1
        if place + length > count:
            raise ValueError(f"run lengths hold more than {count} values")
        many = 1 if run == "1" else length
        at = head + many * word
        if at > len(text):
            raise ValueError(f"run lengths end after {place} of {count} values")
        read = [int(text[head + i * word : head + (i + 1) * word], 2) for i in range(many)]
        values[place : place + length] = np.minimum(read, 255)
        place += length
    return values.reshape(height, width, _CHANNELS)[..., 3] > 127


def _run(length: int, value: str) -> list[str]:
    """Return the bits of a run of equal values, in parts no longer than the largest size holds."""
    parts = []
    while length > 0:
        part = min(length, 1 << _SIZES[-1])
        index = next(i for i, size in enumerate(_SIZES) if part <= 1 << size)
        parts.append(f"1{index:02b}{part - 1:0{_SIZES[index]}b}{value}")
        length -= part
    return parts
