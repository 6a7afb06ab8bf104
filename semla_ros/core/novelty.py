"""What a library needs to tell known scenes from unknown ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import LibraryError


@dataclass(frozen=True, slots=True)
class EmbeddingSample:
    """Some of a domain's images, as many as a library can look at again when it is opened.

    Attributes:
        embeddings: (R, D) float32, in the order of the images.
        blocks: (R,) int64, which stretch of images or which recordings each is of.
        images: How many images the sample stands for, R at least.
    """

    embeddings: npt.NDArray[np.float32]
    blocks: npt.NDArray[np.int64]
    images: int

    def __post_init__(self) -> None:
        shape = self.embeddings.shape
        if len(shape) != 2 or self.blocks.shape != shape[:1] or self.images < shape[0]:
            raise LibraryError(
                f"expected a sample (R, D) with R blocks of at least R images, got {shape}, "
                f"{self.blocks.shape} and {self.images}"
            )

    def every(self, step: int) -> EmbeddingSample:
        """Return every so many images, copied; they stand for as many as before."""
        return EmbeddingSample(
            self.embeddings[::step].copy(), self.blocks[::step].copy(), self.images
        )


@dataclass(frozen=True, slots=True)
class NoveltyAlarm:
    """When a library takes what the camera sees for unknown.

    Attributes:
        threshold: Novelty above; 0: never, the library holds too little to tell.
        reason: Why never, empty otherwise.
        widths: What distances to each domain are divided by, in the library's order; empty: 1;
            0: no image of it was ever seen, so nothing is near it.
    """

    threshold: float
    reason: str
    widths: tuple[float, ...] = ()
