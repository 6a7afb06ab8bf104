"""Each frame embedded once, for every strategy."""

from __future__ import annotations

from semla_ros.navigator.encoder import ImageEncoder
from semla_ros.types import Float32Array, UInt8Array


class SharedEncoder:
    """Remembers the embeddings of the images at hand, by the array itself."""

    def __init__(self, encoder: ImageEncoder) -> None:
        """Remember nothing yet."""
        self._encoder = encoder
        self._known: dict[int, tuple[UInt8Array, Float32Array]] = {}

    @property
    def identity(self) -> str:
        """The encoder's."""
        return self._encoder.identity

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._encoder.dim

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return the embedding of `rgb`, computed at the first call with this array."""
        known = self._known.get(id(rgb))
        if known is not None:
            return known[1]
        embedding = self._encoder.encode(rgb)
        self._known[id(rgb)] = (rgb, embedding)
        return embedding

    def forget(self) -> None:
        """Let go of the images."""
        self._known.clear()
