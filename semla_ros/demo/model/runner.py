"""The run-time parts of a bundle without the stream: embed an image, segment it under a mix."""

from __future__ import annotations

from dataclasses import dataclass

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import BundleError
from semla_ros.core.types import (
    BASE,
    AdapterMix,
    Float32Array,
    Float64Array,
    LabelArray,
    UInt8Array,
)
from semla_ros.engine import create_engine
from semla_ros.engine.closed_text import open_text
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.postprocess import restore
from semla_ros.engine.text import TextFeatures
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import DISTANCES, CentroidBank
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.weight_set import make_weight_set


@dataclass(slots=True)
class Runner:
    """Segments single images under any mix with the very code that runs on the robot."""

    bundle: ModelBundle
    encoder: OnnxImageEncoder
    library: AdapterLibrary
    base: BaseWeights
    text: TextFeatures
    engine: SegmentationEngine
    bank: CentroidBank
    active: AdapterMix | None = None

    @classmethod
    def open(cls, bundle: ModelBundle, *, threads: int = 2) -> Runner:
        """Return a runner on ONNX Runtime.

        Raises:
            BundleError: The bundle has no navigator, or an adapter is unusable.
        """
        spec = bundle.manifest.navigator
        if spec is None:
            raise BundleError("expected a bundle with a navigator, got one without")
        library = AdapterLibrary.of(bundle)
        if library.problems:
            raise BundleError(f"expected a sound library, got problems {dict(library.problems)!r}")
        return cls(
            bundle,
            OnnxImageEncoder(bundle, threads=threads),
            library,
            BaseWeights.open(bundle),
            open_text(bundle, threads=threads),
            create_engine("onnx", bundle, threads=threads),
            bank_of(library, distance="euclidean"),
        )

    def embed(self, rgb: UInt8Array) -> Float32Array:
        """Return the image's embedding (D,)."""
        return self.encoder.encode(rgb)

    def distances(self, embedding: Float32Array) -> Float64Array:
        """Return the Euclidean distance to each centroid (K,), in the library's order."""
        return DISTANCES["euclidean"](embedding, self.bank)

    def segment(self, rgb: UInt8Array, mix: AdapterMix) -> LabelArray:
        """Return labels (H, W) of the image under `mix`."""
        if self.active is None or self.active != mix:
            self._activate(mix)
        labels = self.engine.infer(rgb).labels
        return restore(labels, (rgb.shape[0], rgb.shape[1]))

    def _activate(self, mix: AdapterMix) -> None:
        adapters = [self.library.get(name) for name in mix.names if name != BASE]
        weight_set = make_weight_set(
            mix,
            adapters,
            base=self.base,
            text=self.text,
            vocabulary=self.bundle.manifest.vocabulary,
            image_layers=self.engine.facts.layers,
        )
        self.engine.prepare(weight_set)
        self.engine.commit()
        self.active = mix
