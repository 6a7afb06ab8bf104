"""The image encoder that places a frame among the domains."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from semla_ros.bundle import ModelBundle, NavigatorSpec
from semla_ros.bundle.onnx_session import open_session
from semla_ros.core.errors import BundleError, FrameError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.navigator.preprocess import preprocess, resize_of

__all__ = ["ImageEncoder", "OnnxImageEncoder", "RunnerImageEncoder", "finite", "preprocess"]

Run = Callable[[Float32Array], Float32Array]
"""From preprocessed images (N, 3, H, W), N = 1 unless it batches, to N answers; thread-safe."""


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


class RunnerImageEncoder:
    """The bundle's navigator graph, in a runtime that somebody else has opened.

    Attributes:
        batches: Whether the graph takes several images in one run.
    """

    def __init__(self, bundle: ModelBundle, run: Run, *, batches: bool = False) -> None:
        """Ask `run` for embeddings.

        Raises:
            BundleError: No navigator.
        """
        self._spec = _spec_of(bundle)
        self._run = run
        self.batches = batches

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
        return finite(self.encode_batch([rgb])[0], rgb)

    def encode_batch(self, images: Iterable[UInt8Array]) -> Float32Array:
        """Return the embeddings (N, D) of N images, finite or not; thread-safe.

        One run of the graph where it takes several images, else one for each.

        Args:
            images: (H, W, 3) uint8 each; an iterator's images are not kept.

        Raises:
            BundleError: The graph answers with another length than the manifest says.
        """
        inputs = [preprocess(rgb, self._spec) for rgb in images]
        if not inputs:
            return np.zeros((0, self._spec.dim), dtype=np.float32)
        runs = [np.concatenate(inputs)] if self.batches else inputs
        rows: Float32Array = np.concatenate([self._run(run).reshape(len(run), -1) for run in runs])
        if rows.shape[1] != self._spec.dim:
            raise BundleError(
                f"navigator.onnx: expected an embedding of length {self._spec.dim}, got "
                f"{rows.shape[1]}: rebuild the bundle"
            )
        return rows


class OnnxImageEncoder(RunnerImageEncoder):
    """The bundle's navigator graph in ONNX Runtime."""

    def __init__(self, bundle: ModelBundle, *, threads: int) -> None:
        """Open the graph.

        Raises:
            BundleError: No navigator, or a graph of another interface.
        """
        _spec_of(bundle)
        session = open_session(bundle.navigator_graph, threads=threads)
        inputs = [i.name for i in session.get_inputs()]
        outputs = [o.name for o in session.get_outputs()]
        if inputs != ["image"] or outputs != ["embedding"]:
            raise BundleError(
                f"{bundle.navigator_graph.name}: expected input 'image' and output 'embedding', "
                f"got {inputs!r} and {outputs!r}: rebuild the bundle"
            )

        def run(batch: Float32Array) -> Float32Array:
            (output,) = session.run(["embedding"], {"image": batch})
            return np.asarray(output, dtype=np.float32)

        free = not isinstance(session.get_inputs()[0].shape[0], int)
        super().__init__(bundle, run, batches=free)


def finite(embedding: Float32Array, rgb: UInt8Array) -> Float32Array:
    """Return the `embedding` (D,) of `rgb` if it is one.

    Raises:
        FrameError: It is not finite.
    """
    if not np.isfinite(embedding).all():
        raise FrameError(f"image {rgb.shape} has no finite embedding: frame ignored")
    return embedding


def _spec_of(bundle: ModelBundle) -> NavigatorSpec:
    spec = bundle.manifest.navigator
    if spec is None:
        raise BundleError(
            f"bundle {bundle.manifest.name!r} has no navigator: select adapters explicitly"
        )
    resize_of(spec)
    return spec
