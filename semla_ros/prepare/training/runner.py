"""The run-time parts of a bundle without the stream: embed an image, segment it under a mix."""

from __future__ import annotations

from dataclasses import dataclass, field

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import BundleError
from semla_ros.core.types import (
    BASE,
    AdapterMix,
    Float32Array,
    Float64Array,
    LabelArray,
    LoraAdapter,
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
    """Segments single images under any mix with the very code that runs on the robot.

    Attributes:
        bundle: The model.
        library: Its adapters that can serve.
        extra: Adapters that are not in the library (yet).
    """

    bundle: ModelBundle
    library: AdapterLibrary
    base: BaseWeights
    text: TextFeatures
    engine: SegmentationEngine
    encoder: OnnxImageEncoder | None = None
    bank: CentroidBank | None = None
    extra: dict[str, LoraAdapter] = field(default_factory=dict)
    active: AdapterMix | None = None

    @classmethod
    def open(cls, bundle: ModelBundle, *, threads: int = 2, gpu: bool = False) -> Runner:
        """Return a runner on ONNX Runtime, with a GPU on PyTorch where that makes the network.

        Raises:
            BundleError: Something of the bundle does not load.
        """
        spec = bundle.manifest.navigator
        library = AdapterLibrary.of(bundle)
        engine = "torch" if gpu and bundle.manifest.text else "onnx"
        return cls(
            bundle,
            library,
            BaseWeights.open(bundle),
            open_text(bundle, threads=threads),
            create_engine(
                engine,
                bundle,
                threads=threads,
                device="cuda" if engine == "torch" else "auto",
            ),
            OnnxImageEncoder(bundle, threads=threads) if spec else None,
            bank_of(library, distance=bundle.manifest.defaults.distance) if spec else None,
        )

    def embed(self, rgb: UInt8Array) -> Float32Array:
        """Return the image's embedding (D,).

        Raises:
            BundleError: The bundle has no navigator.
        """
        if self.encoder is None:
            raise BundleError("expected a bundle with a navigator, got one without")
        return self.encoder.encode(rgb)

    def distances(self, embedding: Float32Array) -> Float64Array:
        """Return the bundle's distance to each centroid (K,), in the library's order.

        Raises:
            BundleError: The bundle has no navigator.
        """
        if self.bank is None:
            raise BundleError("expected a bundle with a navigator, got one without")
        return DISTANCES[self.bundle.manifest.defaults.distance](embedding, self.bank)

    def segment(self, rgb: UInt8Array, mix: AdapterMix) -> LabelArray:
        """Return labels (H, W) of the image under `mix`."""
        if self.active is None or self.active != mix:
            self._activate(mix)
        labels = self.engine.infer(rgb).labels
        return restore(labels, (rgb.shape[0], rgb.shape[1]))

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def _adapter(self, name: str) -> LoraAdapter:
        return self.extra[name] if name in self.extra else self.library.get(name)

    def _activate(self, mix: AdapterMix) -> None:
        adapters = [self._adapter(name) for name in mix.names if name != BASE]
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
