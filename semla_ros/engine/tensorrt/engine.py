"""TensorRT on an NVIDIA GPU: frames on an urgent stream, swaps on a patient one.

The adaptable weights are inputs of the network. `prepare` copies a set to the idle of two blocks
on the device; `commit` is one assignment; the next frame is given the other block's addresses.
The frame loop's thread allocates nothing and calls TensorRT for nothing but enqueueing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from semla_ros.bundle import GraphWeight, ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.engines import CUDA
from semla_ros.core.errors import EngineUnavailableError, VocabularyError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.contract import NOT_PROVED, READY, EngineFacts, EngineStatus, Tell
from semla_ros.engine.golden import require_golden
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.slots import TwoSlotEngine
from semla_ros.engine.tensorrt.plans import (
    IMAGE,
    INPUTS,
    LOGITS,
    REFIT,
    TEXT,
    PlanRequest,
    opened,
    plan_identity,
)
from semla_ros.engine.tensorrt.refit_slots import RefitSlots
from semla_ros.engine.tensorrt.tensors import Mirror, enqueue, require_tensors
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.engine.tensorrt.weight_slots import InputSlots
from semla_ros.engine.weights import (
    SECOND_TAP,
    SEGMENTATION_GRAPH,
    layers_of,
    second_tap,
)


class TensorRtEngine(TwoSlotEngine):
    """The engine for NVIDIA GPUs."""

    def __init__(
        self, toolkit: Toolkit, plan: bytes, wanted: PlanRequest, *, reason: str = ""
    ) -> None:
        """Make an engine of `plan` and allocate both slots; call `open` instead.

        Args:
            toolkit: TensorRT; closed with the engine.
            plan: Of the bundle's segmentation graph.
            wanted: What the plan is.
            reason: Why it is this engine.

        Raises:
            PlanRefusedError: TensorRT does not take the plan.
            EngineError: It is not the bundle's, or there is no memory for it.
        """
        bundle = wanted.bundle
        layers = layers_of(bundle, SEGMENTATION_GRAPH)
        size = bundle.manifest.segmentation.shape
        self._toolkit, self._bundle, self._mode = toolkit, bundle, wanted.mode
        engine = toolkit.deserialise(plan)
        require_tensors(engine, _expected(wanted, layers))
        base = BaseWeights.open(bundle)
        self._slots: InputSlots | RefitSlots
        if wanted.mode == REFIT:
            engines = (engine, toolkit.deserialise(plan))
            self._slots = RefitSlots(toolkit, engines, layers, base)
        else:
            self._slots = InputSlots(toolkit, engine, layers, base)
        cuda = toolkit.cuda
        self._frames, self._patient = cuda.stream(urgent=True), cuda.stream(urgent=False)
        self._image, self._logits = (Mirror(cuda, engine, name) for name in (IMAGE, LOGITS))
        own = (TEXT, SECOND_TAP) if wanted.has_tap else (TEXT,)
        self._own = [{name: Mirror(cuda, engine, name) for name in own} for _ in range(2)]
        width = self._own[0][TEXT].host.shape[1]
        facts = EngineFacts(
            "tensorrt",
            layers,
            size,
            width,
            wanted.classes,
            precision=wanted.precision,
            device=CUDA,
            reason=reason,
            identity=plan_identity(toolkit, plan),
        )
        super().__init__(facts)
        self._input = InputBuffer(size)
        self._input.tensor = self._image.host  # page-locked

    @classmethod
    def open(
        cls,
        bundle: ModelBundle,
        *,
        options: EngineOptions,
        mode: str = INPUTS,
        build: bool = False,
        again: bool = False,
        tell: Tell | None = None,
    ) -> TensorRtEngine:
        """Return the engine of `bundle`; its plan was held against ONNX Runtime when it was built.

        Args:
            bundle: The model.
            options: Precision: f16 or f32; auto: f16.
            mode: `inputs`, or `refit` to compare with.
            build: Build a plan where none is kept; minutes.
            again: Build it even if one is kept.
            tell: Told how far a build is.

        Raises:
            PlanMissingError: A plan is all that is missing.
            EngineUnavailableError: Package, driver or GPU is missing, or the plan does not answer
                as it should; the message names what.
            BundleError: The bundle does not hold what the engine needs.
        """
        if bundle.manifest.text is None:
            raise EngineUnavailableError(
                "engine 'tensorrt': expected a network that reads text features, got a closed "
                "class list, which was never tried with TensorRT: take engine 'onnx'"
            )
        wanted = PlanRequest.segmentation(bundle, mode, options.precision)
        return opened(
            wanted,
            lambda toolkit, plan: cls(toolkit, plan, wanted, reason=options.reason),
            lambda engine: require_golden(engine, bundle),
            build=build,
            again=again,
            tell=tell,
        )

    @property
    def status(self) -> EngineStatus:
        """Ready, with the way sets are loaded."""
        return EngineStatus(READY, self.facts.name, f"weights: {self._mode}, {NOT_PROVED}")

    @property
    def free_device_bytes(self) -> int:
        """Free memory of the GPU."""
        return self._toolkit.cuda.free_bytes

    def _check(self, weight_set: WeightSet) -> None:
        count, planned = len(weight_set.vocabulary.names), self.facts.max_classes
        if count != planned:
            raise VocabularyError(
                f"expected {planned} classes, as the TensorRT plan was built for, got "
                f"{count}: take engine 'onnx' for lists of another length"
            )
        super()._check(weight_set)

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        self._slots.load(index, weight_set.weights, stream=self._patient)
        own = self._own[index]
        np.copyto(own[TEXT].host, weight_set.text_features)
        if SECOND_TAP in own:
            own[SECOND_TAP].host[0] = second_tap(self._bundle, weight_set.mix)
        for mirror in own.values():
            mirror.upload(self._patient)
        self._toolkit.cuda.synchronize(self._patient)

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        self._input.load(rgb)
        stream = self._frames
        context, addresses = self._slots.slot(index)
        mirrors = {IMAGE: self._image, LOGITS: self._logits, **self._own[index]}
        self._image.upload(stream)
        pointers = {name: mirror.pointer for name, mirror in mirrors.items()}
        enqueue(context, {**addresses, **pointers}, stream=stream)
        self._logits.download(stream)
        self._toolkit.cuda.synchronize(stream)
        logits: Float32Array = self._logits.host[0]
        return logits

    def _close_impl(self) -> None:
        self._slots.close()
        self._toolkit.cuda.close()


def open_engine(bundle: ModelBundle, *, options: EngineOptions) -> TensorRtEngine:
    """Return the engine of `bundle`, whose plan must be there, see `TensorRtEngine.open`."""
    return TensorRtEngine.open(bundle, options=options)


def _expected(
    wanted: PlanRequest, layers: Mapping[str, GraphWeight]
) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of the plan's tensors by name, -1 where the manifest does not say."""
    manifest = wanted.bundle.manifest
    expected: dict[str, tuple[int, ...]] = {
        IMAGE: (1, 3, *manifest.segmentation.shape),
        TEXT: (wanted.classes, -1),
        LOGITS: (1, wanted.classes, -1, -1),
    }
    if wanted.has_tap:
        expected[SECOND_TAP] = (1,)
    if wanted.mode == INPUTS:
        expected |= {layer.initializer: layer.graph_shape for layer in layers.values()}
    return expected
