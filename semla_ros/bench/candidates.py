"""Ways to serve another mix of adapters: ours, and what a user would take instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import SharedInitializers, open_session
from semla_ros.core.types import (
    AdapterMix,
    Float32Array,
    LoraAdapter,
    UInt8Array,
)
from semla_ros.core.weights import WeightSet
from semla_ros.engine import create_engine
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.engine.text import TextEncoder
from semla_ros.engine.weights import (
    SEGMENTATION_GRAPH,
    layers_of,
)
from semla_ros.pipeline.weight_set import make_weight_set

Feed = Mapping[str, Any]
Network = Callable[[Feed], Float32Array]
"""From `image` and `text_features` to logits (T, h, w)."""


@dataclass(frozen=True, slots=True)
class Material:
    """What every candidate starts from.

    Attributes:
        bundle: Graph, weights and classes.
        adapters: By name.
        threads: CPU threads; 0: all cores but one.
    """

    bundle: ModelBundle
    adapters: Mapping[str, LoraAdapter]
    threads: int = 0


class Candidate(ABC):
    """One way; `prepare` is what may happen beside the frames, `commit` what they wait for.

    Attributes:
        name: As the table calls it.
        runtime: What multiplies.
        aside: Whether preparing leaves the frames alone; otherwise all of it is in `commit`.
    """

    name: ClassVar[str]
    runtime: str
    aside: bool = True

    @abstractmethod
    def prepare(self, mix: AdapterMix) -> None:
        """Do what can be done before the frames have to wait."""

    @abstractmethod
    def commit(self) -> None:
        """Serve the mix that was prepared last."""

    @abstractmethod
    def logits(self, rgb: UInt8Array) -> Float32Array:
        """Return logits (T, h, w) of `rgb` (H, W, 3)."""

    def close(self) -> None:  # noqa: B027  most hold nothing
        """Release everything."""


class MixedWeights:
    """The merged weights of a mix, made as the package makes them; for runtimes' candidates."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._base = BaseWeights.open(material.bundle)
        self._text = TextEncoder(material.bundle, threads=1)
        self.layers = layers_of(material.bundle, SEGMENTATION_GRAPH)

    def of(self, mix: AdapterMix) -> WeightSet:
        """Return everything to serve `mix`; nothing comes from a cache."""
        return make_weight_set(
            mix,
            list(self._material.adapters.values()),
            base=self._base,
            text=self._text,
            vocabulary=self._material.bundle.manifest.vocabulary,
            image_layers=self.layers,
        )


class HotLoading(Candidate):
    """Ours: merge into the idle slot, publish with one assignment."""

    name = "semla_ros: merge into the idle slot"

    def __init__(self, material: Material, *, engine: str) -> None:
        """Open `engine`.

        Raises:
            SemlaError: It is not available here.
        """
        self._weights = MixedWeights(material)
        self._engine = create_engine(engine, material.bundle, threads=material.threads)
        self.runtime = f"{engine} {self._engine.facts.precision}"

    def prepare(self, mix: AdapterMix) -> None:
        """Merge into the idle slot."""
        self._engine.prepare(self._weights.of(mix))

    def commit(self) -> None:
        """Publish the slot."""
        self._engine.commit()

    def logits(self, rgb: UInt8Array) -> Float32Array:
        """Return logits (T, h, w)."""
        return self._engine.logits(rgb)

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()


class MadeAnew(Candidate):
    """A network made anew for each mix; the old one is dropped."""

    def __init__(self, material: Material) -> None:
        """Prepare to make networks."""
        self._material = material
        self._weights = MixedWeights(material)
        self._input = InputBuffer(material.bundle.manifest.segmentation.shape)
        self._next: tuple[Network, Float32Array] | None = None
        self._active: tuple[Network, Float32Array] | None = None

    @abstractmethod
    def _made(self, weight_set: WeightSet) -> Network:
        """Return the network of some weights."""

    def prepare(self, mix: AdapterMix) -> None:
        """Merge, and make the network."""
        weight_set = self._weights.of(mix)
        self._next = (self._made(weight_set), weight_set.text_features)

    def commit(self) -> None:
        """Use the new network, drop the old one."""
        self._active, self._next = self._next, None

    def logits(self, rgb: UInt8Array) -> Float32Array:
        """Return logits (T, h, w)."""
        if self._active is None:
            raise RuntimeError("logits before the first commit")
        self._input.load(rgb)
        network, features = self._active
        return network({"image": self._input.tensor, "text_features": features})

    def close(self) -> None:
        """Drop the networks."""
        self._active = self._next = None


class SessionAnew(MadeAnew):
    """A new ONNX Runtime session with the merged weights as its initializers."""

    name = "ONNX Runtime: create the session anew"
    runtime = "onnx"

    def __init__(self, material: Material) -> None:
        """Read the base weights."""
        super().__init__(material)
        self._layers = self._weights.layers
        self._base = BaseWeights.open(material.bundle)

    def _made(self, weight_set: WeightSet) -> Network:
        buffers = SlotBuffers(self._layers, self._base)
        buffers.fill(weight_set.weights)
        arrays = {layer.initializer: buffers.arrays[n] for n, layer in self._layers.items()}
        shared = SharedInitializers(arrays)
        graph, threads = self._material.bundle.segmentation_graph, self._material.threads
        session = open_session(graph, threads=threads, shared=shared)

        def network(feed: Feed, kept: SharedInitializers = shared) -> Float32Array:
            logits: Float32Array = session.run(["logits"], feed)[0][0]
            return logits

        return network
