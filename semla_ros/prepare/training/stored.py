"""Labelled images in one file of pixels."""

from __future__ import annotations

from dataclasses import dataclass

from semla_ros.core.types import UInt8Array


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """A frame in the file of pixels.

    Attributes:
        recording: Number of its task.
        index: Its place in the recording.
        height, width: As it is kept.
        at: First byte of its (height, width, 3) pixels; its labels follow them.
    """

    recording: int
    index: int
    height: int
    width: int
    at: int

    @property
    def end(self) -> int:
        """The byte behind its labels."""
        return self.at + 4 * self.height * self.width


@dataclass(frozen=True, slots=True)
class StoredImages:
    """Frames in a file of pixels."""

    pixels: UInt8Array
    frames: tuple[LabelledFrame, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int, /) -> tuple[UInt8Array, UInt8Array]:
        frame = self.frames[index]
        size = frame.height * frame.width
        raw = self.pixels[frame.at : frame.end]
        shape = (frame.height, frame.width)
        return raw[: 3 * size].reshape(*shape, 3), raw[3 * size :].reshape(shape)
