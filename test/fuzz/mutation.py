"""Damaged files: small real ones, changed as disks, networks and enemies change them."""

from __future__ import annotations

import random
from collections.abc import Sequence

_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xD8, 0xFE, 0xFF)
_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, 1 << 62)
_MAX_BYTES = 200_000


def mutated(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return one of `seeds` with one to six changes.

    Args:
        rng: Where chance comes from.
        seeds: Contents of whole files.
        words: What the format is made of: put in as they are.
    """
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_CHANGES)(rng, data, seeds, words)
    return bytes(data[:_MAX_BYTES])


def _at(rng: random.Random, data: bytearray) -> int:
    """Return a place; formats keep what matters at the beginning and at the end."""
    if not data:
        return 0
    near = rng.choice((64, 512, len(data), len(data)))
    place = rng.randrange(min(near, len(data)))
    return place if rng.random() < 0.75 else len(data) - 1 - place


def _flip(rng: random.Random, data: bytearray, *_: object) -> None:
    if data:
        data[_at(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, *_: object) -> None:
    if data:
        data[_at(rng, data)] = rng.choice(_BYTES)


def _number(rng: random.Random, data: bytearray, *_: object) -> None:
    size = rng.choice((2, 3, 4, 8))
    value = rng.choice((*_NUMBERS, len(data), rng.getrandbits(63))) % (1 << 8 * size)
    at = _at(rng, data)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: random.Random, data: bytearray, *_: object) -> None:
    del data[_at(rng, data) :]


def _remove(rng: random.Random, data: bytearray, *_: object) -> None:
    at = _at(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 8, 100))]


def _repeat(rng: random.Random, data: bytearray, *_: object) -> None:
    at = _at(rng, data)
    part = data[at : at + rng.choice((1, 4, 16, 100, 1000))]
    data[at:at] = part * rng.choice((1, 2, 30))


def _insert(
    rng: random.Random, data: bytearray, _: Sequence[bytes], words: Sequence[bytes]
) -> None:
    word = rng.choice(words) if words else rng.randbytes(rng.randrange(1, 9))
    at = _at(rng, data)
    data[at : at + (len(word) if rng.random() < 0.5 else 0)] = word


def _splice(rng: random.Random, data: bytearray, seeds: Sequence[bytes], *_: object) -> None:
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    part = other[start : start + rng.choice((8, 64, 1000))]
    at = _at(rng, data)
    data[at : at + rng.choice((0, len(part)))] = part


_CHANGES = (_flip, _byte, _byte, _number, _number, _cut, _remove, _repeat, _insert, _splice)
