"""The frames of a recording and their truth, block by block, read while others are computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from semla_ros.bags.opening import NoteSink
from semla_ros.evaluation.study.inputs import Input, InputFrame
from semla_ros.evaluation.truth.source import Truth, TruthSource

BLOCK_FRAMES = 32
BLOCK_BYTES = 96_000_000
_FIRST_FRAMES = 4
"""The first block is small and each doubles, so that computing begins soon."""
Block = list[tuple[InputFrame, Truth]]
"""Frames that go through all strategies together, with their truth."""


def read_blocks(frames: Input, truth: TruthSource, *, on_note: NoteSink) -> Iterator[Block]:
    """Yield the blocks of `frames` in order; the next one is read while one is in use.

    Args:
        frames: What is read.
        truth: Asked for each frame that can be used in turn, on the reading thread.
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
    block: Block = []
    size, used, limit = 0, 0, min(_FIRST_FRAMES, BLOCK_FRAMES)
    for each in frames.read(on_note=on_note):
        if each.frame is None:
            block.append((each, Truth(None)))
            continue
        block.append((each, truth.truth(each.stamp_ns, each.name)))
        size, used = size + each.frame.rgb.nbytes, used + 1
        if used >= limit or size >= BLOCK_BYTES:
            yield block
            block, size, used, limit = [], 0, 0, min(2 * limit, BLOCK_FRAMES)
    yield block
