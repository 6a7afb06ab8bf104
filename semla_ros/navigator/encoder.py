"""The image encoder that places a frame among the domains."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.errors import BundleError, FrameError
from semla_ros.navigator.preprocess import preprocess, resize_of
from semla_ros.onnx_session import open_session
from semla_ros.types import Float32Array, UInt8Array

__all__ = ["ImageEncoder", "OnnxImageEncoder", "preprocess"]


class ImageEncoder(Protocol):
    """Turns an image into a point that can be compared with centroids; thread-safe."""

    @property
    def identity(self) -> str:
        """Model and preprocessing; a library made with another identity is refused."""
        ...

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return the embedding (D,) float32 of `rgb` (H, W, 3), not normalised."""
        ...


class OnnxImageEncoder:
    """The bundle's navigator graph in ONNX Runtime."""

    def __init__(self, bundle: ModelBundle, *, threads: int) -> None:
        """Open the graph.

        Raises:
            BundleError: No navigator, or a graph of another interface.
        """
        spec = bundle.manifest.navigator
        if spec is None:
            raise BundleError(
                f"bundle {bundle.manifest.name!r} has no navigator: select adapters explicitly"
            )
        resize_of(spec)
        self._spec = spec
        self._session = open_session(bundle.navigator_graph, threads=threads)
        inputs = [i.name for i in self._session.get_inputs()]
        outputs = [o.name for o in self._session.get_outputs()]
        if inputs != ["image"] or outputs != ["embedding"]:
            raise BundleError(
                f"{bundle.navigator_graph.name}: expected input 'image' and output 'embedding', "
                f"got {inputs!r} and {outputs!r}: rebuild the bundle"
            )

    @property
    def identity(self) -> str:
        """The navigator's identity."""
        return self._spec.identity

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._spec.dim

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return the embedding of `rgb`; thread-safe.

        Args:
            rgb: (H, W, 3) uint8.

        Raises:
            BundleError: The graph answers with another length than the manifest says.
            FrameError: The embedding is not finite.
        """
        image = preprocess(rgb, self._spec)
        (output,) = self._session.run(["embedding"], {"image": image})
        embedding = np.asarray(output, dtype=np.float32).reshape(-1)
        if embedding.shape != (self._spec.dim,):
            raise BundleError(
                f"navigator.onnx: expected an embedding of length {self._spec.dim}, got "
                f"{embedding.shape[0]}: rebuild the bundle"
            )
        if not np.isfinite(embedding).all():
            raise FrameError(f"image {rgb.shape} has no finite embedding: frame ignored")
        return embedding
