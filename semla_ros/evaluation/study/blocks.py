"""The frames of a recording and their truth, block by block, read while others are computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from semla_ros.bags.opening import NoteSink
from semla_ros.evaluation.result import SkippedRecord
from semla_ros.evaluation.study.inputs import Input, Shot
from semla_ros.evaluation.truth.source import Truth, TruthSource

BLOCK_FRAMES = 32
BLOCK_BYTES = 96_000_000
_FIRST_FRAMES = 4
"""The first block is small and each doubles, so that computing begins soon."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Frames that go through all strategies together.

    Attributes:
        shots: Those with an image, each with its truth.
        skipped: Those without.
    """

    shots: tuple[tuple[Shot, Truth], ...]
    skipped: tuple[SkippedRecord, ...]


def read_blocks(frames: Input, truth: TruthSource, *, on_note: NoteSink) -> Iterator[Block]:
    """Yield the blocks of `frames` in order; the next one is read while one is in use.

    Args:
        frames: What is read.
        truth: Asked for each frame in turn, on the reading thread.
        on_note: Called on the reading thread.

    Raises:
        SemlaError: Frames or truth cannot be read; what was read of the block is dropped.
    """
    blocks = _blocks(frames, truth, on_note)
    with ThreadPoolExecutor(1, thread_name_prefix="semla-read") as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


def _blocks(frames: Input, truth: TruthSource, on_note: NoteSink) -> Iterator[Block]:
    shots: list[tuple[Shot, Truth]] = []
    skipped: list[SkippedRecord] = []
    size, limit = 0, min(_FIRST_FRAMES, BLOCK_FRAMES)
    for shot in frames.shots(on_note=on_note):
        if shot.frame is None:
            skipped.append(SkippedRecord(shot.index, shot.stamp_ns, shot.reason))
            continue
        shots.append((shot, truth.truth(shot.stamp_ns, shot.name)))
        size += shot.frame.rgb.nbytes
        if len(shots) >= limit or size >= BLOCK_BYTES:
            yield Block(tuple(shots), tuple(skipped))
            shots, skipped, size, limit = [], [], 0, min(2 * limit, BLOCK_FRAMES)
    yield Block(tuple(shots), tuple(skipped))
