"""One recording to evaluate: frames and truth, block by block, read while others are computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from semla_ros.data.bags.opening import NoteSink
from semla_ros.data.inputs import Input, InputFrame
from semla_ros.data.labels.domains import DomainTable
from semla_ros.data.labels.source import Truth, TruthSource

BLOCK_FRAMES = 32
BLOCK_BYTES = 96_000_000
_FIRST_FRAMES = 4
"""The first block is small and each doubles, so that computing begins soon."""
Block = list[tuple[InputFrame, Truth]]
"""Frames that go through all strategies together, with their truth."""


@dataclass(frozen=True, slots=True)
class SequenceSource:
    """One recording to evaluate.

    Attributes:
        source: As the user named it.
        name: Short and unique.
        frames: Its frames.
        truth: Their truth; None: no frame has any.
        domains: Their domains.
        most: How many of the first frames are taken; None: all.
    """

    source: str
    name: str
    frames: Input
    truth: TruthSource | None
    domains: DomainTable
    most: int | None = None

    def truth_of(self, frame: InputFrame) -> Truth:
        """Return the truth of a frame; they must be asked for in order."""
        if self.truth is None or frame.frame is None:
            return Truth(None)
        return self.truth.truth(frame.stamp_ns, frame.name)

    def domain_of(self, frame: InputFrame) -> str:
        """Return the domain of a frame, "" if unknown."""
        return self.domains.domain(frame.stamp_ns, frame.name)

    def blocks(self, *, on_note: NoteSink) -> Iterator[Block]:
        """Yield the blocks in order; the next one is read, on a thread, while one is in use.

        Raises:
            SemlaError: Frames or truth cannot be read; what was read of the block is dropped.
        """
        blocks = self._blocks(on_note)
        with ThreadPoolExecutor(1, thread_name_prefix="semla-read") as reader:
            coming = reader.submit(next, blocks, None)
            while (block := coming.result()) is not None:
                coming = reader.submit(next, blocks, None)
                yield block

    def _blocks(self, on_note: NoteSink) -> Iterator[Block]:
        block: Block = []
        size, used, limit = 0, 0, min(_FIRST_FRAMES, BLOCK_FRAMES)
        known = not self.domains.file or self.most is not None
        for each in islice(self.frames.read(on_note=on_note), self.most):
            known = known or self.domains.knows(each.stamp_ns, each.name)
            block.append((each, self.truth_of(each)))
            if each.frame is None:
                continue
            size, used = size + each.frame.rgb.nbytes, used + 1
            if used >= limit or size >= BLOCK_BYTES:
                yield block
                block, size, used, limit = [], 0, 0, min(2 * limit, BLOCK_FRAMES)
        if not known:
            on_note(
                f"no line of {self.domains.file!r} is for a frame of {self.name!r}, all of which "
                f"take the domain {self.domains.default!r}: check its names, stamps and column "
                "recording"
            )
        yield block
