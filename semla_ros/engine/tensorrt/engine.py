"""TensorRT on an NVIDIA GPU: frames on an urgent stream, swaps on a patient one.

Weights of the next set are rounded into page-locked memory, copied to the GPU in one piece and
refitted into the engine that does not serve; the probe proves it; `commit` is one assignment. The
frame loop's thread only enqueues. `docs/tensorrt.md` has the table of versions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import ClassVar

import numpy as np

from semla_ros.bundle import AS_TRAINED, GraphWeight, ModelBundle
from semla_ros.engine.base import FROZEN, NOT_PROVED, READY, EngineStatus, SegmentationEngine, Slot
from semla_ros.engine.options import CUDA, F16, F32, EngineOptions
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.tensorrt.assembly import Machine, Workbench, assemble, order_of
from semla_ros.engine.tensorrt.options import FP16, BuildOptions
from semla_ros.engine.tensorrt.plan_cache import CachedPlan
from semla_ros.engine.tensorrt.plans import build_plan, find_plan, missing_plan
from semla_ros.engine.tensorrt.probe import question
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.engine.tensorrt.slots import RefittableSlot
from semla_ros.engine.tensorrt.tensors import Interface, SegmentationTensors
from semla_ros.engine.tensorrt.toolkit import PlanRefusedError, Toolkit
from semla_ros.engine.weights import (
    SEGMENTATION_GRAPH,
    layers_of,
    read_base_weights,
    second_tap,
)
from semla_ros.errors import (
    BundleError,
    EngineError,
    EngineUnavailableError,
    SemlaError,
    VocabularyError,
)
from semla_ros.types import AdapterMix, Float32Array, UInt8Array, WeightSet

_LOG = logging.getLogger(__name__)

NAME = "tensorrt"


class TensorRtEngine(SegmentationEngine):
    """The fastest engine, where there is an NVIDIA GPU."""

    name: ClassVar[str] = NAME

    def __init__(
        self,
        bundle: ModelBundle,
        toolkit: Toolkit,
        plan: CachedPlan,
        *,
        options: BuildOptions,
        likeness: float = 0.5,
        one_engine: bool = False,
    ) -> None:
        """Make engines of `plan`, prove them and leave them with the base weights.

        Args:
            bundle: The model.
            toolkit: TensorRT; closed with the engine.
            plan: Of the bundle's segmentation graph.
            options: How the plan was built.
            likeness: See `TensorRtSettings`.
            one_engine: Likewise.

        Raises:
            PlanRefusedError: TensorRT does not take the plan.
            EngineError: It answers something else than the reference.
        """
        layers = layers_of(bundle, SEGMENTATION_GRAPH)
        self._toolkit, self._bundle, self._options = toolkit, bundle, options
        machine = self._started(plan, layers, likeness=likeness, one_engine=one_engine)
        self._loader, (self._spare, self._good) = machine.loader, machine.blocks
        self.golden_errors: Mapping[str, float] = machine.errors
        super().__init__(
            layers,
            size=self._interface.size,
            feature_dim=self._interface.width,
            max_classes=options.classes.high,
        )
        self.precision, self.device = F16 if options.precision == FP16 else F32, CUDA
        where = toolkit.platform
        self.identity = f"{where.tensorrt} {where.gpu} {plan.record.sha256[:16]}"
        self._base_text: tuple[tuple[str, ...], Float32Array] = ((), np.zeros((0, 0), np.float32))
        self._input = InputBuffer(self.size)
        self._input.tensor = self._tensors.image  # page-locked

    @classmethod
    def open(
        cls,
        bundle: ModelBundle,
        *,
        options: EngineOptions,
        settings: TensorRtSettings | None = None,
    ) -> TensorRtEngine:
        """Return the engine of `bundle`.

        Raises:
            EngineUnavailableError: Package, driver, GPU or plan is missing, or the plan does not
                answer as it should; the message names what.
            BundleError: The bundle does not hold what the engine needs.
        """
        options.require(NAME, precisions=(F16, F32), devices=(CUDA,))
        settings = settings or TensorRtSettings()
        built = settings.build_options(bundle, options.precision)
        try:
            try:
                return cls._opened(bundle, built, settings, options)
            except PlanRefusedError as error:
                if not settings.build:
                    raise
                _LOG.warning("%s; building it once more", error)
                return cls._opened(bundle, built, settings, options)
        except EngineUnavailableError as error:
            raise EngineUnavailableError(f"engine {NAME!r}: {error}") from error
        except EngineError as error:
            raise EngineUnavailableError(
                f"engine {NAME!r}: {error}; or take engine 'onnx'"
            ) from error

    @classmethod
    def _opened(
        cls,
        bundle: ModelBundle,
        built: BuildOptions,
        settings: TensorRtSettings,
        options: EngineOptions,
    ) -> TensorRtEngine:
        toolkit = Toolkit.open()
        order = order_of(bundle, built, threads=options.threads)
        cache = settings.cache
        try:
            found = find_plan(order, toolkit, cache, accepts=settings.accepts)
            if found is None and not settings.build:
                raise missing_plan(order, toolkit, cache)
            if found is None:
                found = build_plan(order, toolkit, cache, progress=settings.progress)
        except SemlaError:
            toolkit.cuda.close()
            raise
        try:
            return cls(
                bundle,
                toolkit,
                found.plan,
                options=found.identity.options,
                likeness=settings.likeness,
                one_engine=settings.one_engine,
            )
        except PlanRefusedError:
            cache.drop(found.identity)
            raise

    @property
    def status(self) -> EngineStatus:
        """Frozen once no swap can succeed any more; which way sets are loaded."""
        ladder = self._loader.ladder
        if ladder.frozen:
            return EngineStatus(FROZEN, NAME, ladder.frozen)
        detail = f"{self._options.mode}, {self._loader.kind}, {NOT_PROVED}"
        return EngineStatus(READY, NAME, detail)

    @property
    def free_device_bytes(self) -> int:
        """Free memory of the GPU."""
        return self._toolkit.cuda.free_bytes

    def probe(self, weight_set: WeightSet, image: UInt8Array | Float32Array) -> Float32Array:
        """See `SegmentationEngine.probe`.

        Raises:
            EngineError: The only engine serves: it has no idle slot.
        """
        if self._loader.in_place and self.active is not None:
            raise EngineError("one engine serves and cannot be probed: free some GPU memory")
        return super().probe(weight_set, image)

    def _started(
        self,
        plan: CachedPlan,
        layers: Mapping[str, GraphWeight],
        *,
        likeness: float,
        one_engine: bool,
    ) -> Machine:
        """Make streams, tensors and engines; what fails leaves nothing allocated."""
        cuda = self._toolkit.cuda
        with ExitStack() as resources:
            resources.callback(cuda.close)
            self._frames, self._patient = (cuda.stream(urgent=urgent) for urgent in (True, False))
            for stream in (self._frames, self._patient):
                resources.callback(cuda.destroy_stream, stream)
            first = self._first_slot(plan, resources)
            bench = Workbench(
                toolkit=self._toolkit,
                plan=plan,
                options=self._options,
                layers=layers,
                base=read_base_weights(self._bundle, list(layers.values())),
                probe=self._tensors.probe,
                stream=self._patient,
                resources=resources,
                one_engine=one_engine,
            )
            machine = assemble(bench, first, likeness=likeness)
            self._resources = resources.pop_all()
        return machine

    def _first_slot(self, plan: CachedPlan, resources: ExitStack) -> RefittableSlot:
        """Deserialise the plan, allocate all tensors, and return the first slot."""
        toolkit = self._toolkit
        engine = toolkit.deserialise(plan.content)
        self._interface = Interface.of(engine)
        size = self._bundle.manifest.segmentation.size
        lacks_tap = (
            self._bundle.manifest.adapter_guidance == AS_TRAINED and self._interface.tap is None
        )
        if self._interface.size != size or lacks_tap:
            raise BundleError(
                f"expected a graph of side {size} with the manifest's inputs, the plan has side "
                f"{self._interface.size}: rebuild the bundle"
            )
        classes = self._options.classes
        ask = question(size=size, classes=classes.best, width=self._interface.width)
        self._tensors = SegmentationTensors(
            toolkit.cuda,
            self._interface,
            classes,
            ask=ask,
            resources=resources,
            stream=self._patient,
        )
        probe, stream = self._tensors.probe, self._patient
        slot = RefittableSlot(toolkit, plan.content, probe=probe, stream=stream, engine=engine)
        resources.callback(slot.close)
        return slot

    def _check(self, weight_set: WeightSet) -> None:
        classes, count = self._options.classes, len(weight_set.vocabulary.names)
        if not classes.low <= count <= classes.high:
            raise VocabularyError(
                f"expected {classes.text} classes, as the plan was built for, got {count}: "
                f"`semla engine build --classes {count}`, or take engine 'onnx'"
            )
        super()._check(weight_set)

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        self._spare.write(weight_set.weights)
        self._loader.load(index, self._spare, good=self._good)
        tap = second_tap(self._bundle, weight_set.mix)
        self._tensors.set_text(index, weight_set.text_features, tap)
        if not weight_set.mix.adapted:
            self._base_text = (weight_set.vocabulary.names, weight_set.text_features)

    def _commit_impl(self, slot: Slot) -> None:
        if self._loader.in_place:
            self._publish_in_place()
        self._spare, self._good = self._good, self._spare

    def _publish_in_place(self) -> None:
        """Refit between two frames; where all fails the base serves and says so."""
        with self._inferring:
            try:
                self._loader.publish(self._spare, good=self._good)
            except EngineError:
                if self._loader.ladder.frozen and self._active is not None:
                    self._active = self._based(self._active)
                raise

    def _based(self, slot: Slot) -> Slot:
        """Return `slot` as it is once its engine holds the plan's own weights."""
        base = AdapterMix.base_only()
        names, features = self._base_text
        if names == slot.vocabulary.names:
            self._tensors.set_text(slot.index, features, second_tap(self._bundle, base))
        else:
            _LOG.error("the base serves with text features of %s", slot.mix.identity)
        return replace(slot, mix=base)

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        self._input.load(rgb)
        stream = self._frames
        return self._tensors.run(
            index,
            lambda which, feed: self._loader.serve(which, feed, stream=stream),
            stream=stream,
        )

    def _close_impl(self) -> None:
        self._resources.close()
