"""The PyTorch network with replaceable weights: on the CPU, or as CUDA graphs on a GPU.

Imported only once torch is known to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from semla_ros.bundle import GraphWeight
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.engines import BF16, CPU, CUDA, F16, F32
from semla_ros.core.errors import EngineError
from semla_ros.core.types import Float32Array
from semla_ros.core.weights import WeightSet, WeightSource
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.engine.torch_fusion import TorchBank
from semla_ros.network.catseg import CatSeg

DTYPES: Mapping[str, torch.dtype] = {
    F32: torch.float32,
    BF16: torch.bfloat16,
    F16: torch.float16,
}

_Merger = Callable[[WeightSource], Mapping[str, Tensor]]
"""From a mix's weights to tensors in the layout of the graph, by layer."""

_WARM_UP_RUNS = 2
_HIGH, _LOW = -1, 0


@dataclass(slots=True)
class Slot:
    """What one frame is computed with.

    Attributes:
        weights: Parameter name -> weight (out, in); the tensors stay, their content changes.
        features: Text features (T, D).
        tap: (1,) which tap the second guidance reads; None where the bundle never changes it.
        graph: Replays a frame, None on the CPU.
        logits: What `graph` wrote last.
    """

    weights: dict[str, Tensor]
    features: Tensor
    tap: Tensor | None = None
    graph: torch.cuda.CUDAGraph | None = None
    logits: Tensor = field(default_factory=lambda: torch.zeros(0))


class CpuNetwork:
    """The network run as it is."""

    device = CPU

    def __init__(
        self,
        model: CatSeg,
        image: Float32Array,
        *,
        layers: Mapping[str, GraphWeight],
        base: BaseWeights,
        precision: str,
    ) -> None:
        """Take over `model`.

        Args:
            model: The network.
            image: (1, 3, S, S), read at every run.
            layers: Adaptable layers by name.
            base: W0.
            precision: A key of `DTYPES`.
        """
        self.precision = precision
        self._model = model.to(self.device)
        self._host_image = torch.from_numpy(image)
        self._layers = dict(layers)
        self._merging = self._merger(base)

    def slot(self) -> Slot:
        """Return an empty slot."""
        dtype = DTYPES[self.precision]
        weights = {
            layer.parameter: torch.zeros(layer.shape, dtype=dtype, device=self.device)
            for layer in self._layers.values()
        }
        return Slot(weights, torch.zeros(0, 0, device=self.device))

    def fill(self, slot: Slot, weight_set: WeightSet, *, tap: int | None) -> None:
        """Merge `weight_set` into `slot`."""
        for name, merged in self._merging(weight_set.weights).items():
            layer = self._layers[name]
            turned = merged.T if layer.transposed else merged
            slot.weights[layer.parameter].copy_(turned)
        features = np.ascontiguousarray(weight_set.text_features)
        if slot.features.shape != features.shape:
            slot.features = torch.zeros(features.shape, device=self.device)
        slot.features.copy_(torch.from_numpy(np.array(features)))  # cached ones are read-only
        if tap is None:
            slot.tap = None
        else:
            if slot.tap is None:
                slot.tap = torch.zeros(1, dtype=torch.int64, device=self.device)
            slot.tap.fill_(tap)

    def run(self, slot: Slot) -> Float32Array:
        """Return logits (T, h, w) of the image.

        Raises:
            EngineError: torch failed.
        """
        try:
            return cast(Float32Array, self._forward(slot, self._host_image).numpy())
        except RuntimeError as error:
            raise EngineError(f"PyTorch failed on a frame: {error}") from error

    def close(self) -> None:
        """Release what is not freed by itself."""

    def _merger(self, base: BaseWeights) -> _Merger:
        """Return what merges weights into memory of its own, in the layout of the graph."""
        buffers = SlotBuffers(self._layers, base, threads=torch.get_num_threads())
        views = {name: torch.from_numpy(array) for name, array in buffers.arrays.items()}

        def merge(weights: WeightSource) -> Mapping[str, Tensor]:
            buffers.fill(weights)
            return views

        return merge

    def _forward(self, slot: Slot, image: Tensor) -> Tensor:
        """Return logits (T, h, w) float32."""
        with torch.inference_mode(), self._arithmetic():
            logits: Tensor = torch.func.functional_call(
                self._model, slot.weights, (image, slot.features, slot.tap)
            )
        return logits[0].float()

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Multiply in `precision`: float32 in full, anything else by autocast."""
        with torch.autocast(self.device, DTYPES[self.precision], enabled=self.precision != F32):
            yield


class CudaNetwork(CpuNetwork):
    """One CUDA graph for each slot: a swap replays the other graph.

    Frames run on a stream of high priority; filling and capturing on one of low priority, by the
    thread that prepares. Factors travel to the GPU and are merged there.
    """

    device = CUDA

    def __init__(
        self,
        model: CatSeg,
        image: Float32Array,
        *,
        layers: Mapping[str, GraphWeight],
        base: BaseWeights,
        precision: str,
    ) -> None:
        """Take over `model`; see `CpuNetwork`."""
        super().__init__(model, image, layers=layers, base=base, precision=precision)
        self._frames = torch.cuda.Stream(priority=_HIGH)  # type: ignore[no-untyped-call]
        self._swaps = torch.cuda.Stream(priority=_LOW)  # type: ignore[no-untyped-call]
        self._image = torch.zeros(image.shape, device=self.device)
        self._pinned = torch.zeros(image.shape).pin_memory()
        self._answer = torch.zeros(0)

    def fill(self, slot: Slot, weight_set: WeightSet, *, tap: int | None) -> None:
        """Merge `weight_set` into `slot`; capture anew for another class count."""
        same = (
            slot.graph is not None
            and slot.features.shape == weight_set.text_features.shape
            and (slot.tap is None) == (tap is None)
        )
        try:
            with torch.cuda.stream(self._swaps):
                if not same:
                    slot.graph = None
                super().fill(slot, weight_set, tap=tap)
                self._swaps.synchronize()
                if not same:
                    self._capture(slot)
                self._swaps.synchronize()
        except RuntimeError as error:
            slot.graph = None
            raise EngineError(f"PyTorch could not fill a slot on the GPU: {error}") from error

    def run(self, slot: Slot) -> Float32Array:
        """Return logits (T, h, w) of the image, valid until the next run."""
        if slot.graph is None:
            raise EngineError("expected a captured slot, got one whose capture failed")
        try:
            with torch.cuda.stream(self._frames):
                self._pinned.copy_(self._host_image)
                self._image.copy_(self._pinned, non_blocking=True)
                slot.graph.replay()
                if self._answer.shape != slot.logits.shape:
                    self._answer = torch.zeros(slot.logits.shape).pin_memory()
                self._answer.copy_(slot.logits, non_blocking=True)
                self._frames.synchronize()
        except RuntimeError as error:
            raise EngineError(f"PyTorch failed on a frame: {error}") from error
        return cast(Float32Array, self._answer.numpy())

    def close(self) -> None:
        """Wait for the GPU, so that nothing is freed under its hands."""
        torch.cuda.synchronize()

    def _merger(self, base: BaseWeights) -> _Merger:
        bank = TorchBank(self._layers, base, device=self.device)
        merged = bank.slot()
        views = bank.views(merged)

        def merge(weights: WeightSource) -> Mapping[str, Tensor]:
            bank.fill(weights, merged)
            return views

        return merge

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Multiply in `precision`, the same bits every time; no TF32 where float32 is asked."""
        cudnn = torch.backends.cudnn.flags(
            enabled=True, deterministic=True, allow_tf32=self.precision != F32
        )
        with cudnn, super()._arithmetic():
            yield

    def _capture(self, slot: Slot) -> None:
        """Record one run of `slot` into its graph, after runs that let libraries set up.

        `torch.cuda.graph` would wait for the whole device, frames included.
        """
        image = torch.zeros_like(self._image)
        for _ in range(_WARM_UP_RUNS):
            self._forward(slot, image)
        self._swaps.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            slot.logits = self._forward(slot, self._image)
        finally:
            graph.capture_end()
        slot.graph = graph
