"""Any graph with one image in and one vector out, on TensorRT: the navigator's encoder."""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.tensorrt.execution import Feed, Mirror, tensor_names
from semla_ros.engine.tensorrt.options import (
    CONSTANT,
    FP16,
    IMAGE,
    BuildOptions,
    ClassRange,
)
from semla_ros.engine.tensorrt.plan_cache import Golden
from semla_ros.engine.tensorrt.plans import (
    NAVIGATOR,
    FoundPlan,
    Order,
    build_plan,
    find_plan,
    missing_plan,
)
from semla_ros.engine.tensorrt.probe import BASE, question, relative_error, sampled
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.engine.tensorrt.slots import PlainSlot
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.errors import EngineError, EngineUnavailableError, SemlaError
from semla_ros.onnx_session import ORT_ERRORS, open_session
from semla_ros.types import Float32Array

EMBEDDING = "embedding"

LARGEST_ERROR = 5e-3
"""Relative error (L2) of an embedding; centroids in the library were made with the reference."""


class TensorRtRunner:
    """The navigator's graph in FP16, on a stream that yields to the frames'.

    An embedding decides which adapters serve, so a plan that moves it is refused.
    """

    def __init__(self, toolkit: Toolkit, found: FoundPlan, *, size: int) -> None:
        """Make the engine and hold it against the reference.

        Args:
            toolkit: TensorRT; closed with the runner.
            found: The navigator's plan.
            size: Side of the image.

        Raises:
            EngineError: TensorRT does not take the plan, or answers something else.
        """
        self._lock = threading.Lock()
        self._cuda = toolkit.cuda
        with ExitStack() as resources:
            resources.callback(toolkit.cuda.close)
            self._stream = toolkit.cuda.stream(urgent=False)
            resources.callback(toolkit.cuda.destroy_stream, self._stream)
            engine = toolkit.deserialise(found.plan.content)
            if set(tensor_names(engine)) != {IMAGE, EMBEDDING}:
                raise EngineError(
                    f"expected tensors {(IMAGE, EMBEDDING)!r} in the navigator's plan, got "
                    f"{tensor_names(engine)!r}: build it again"
                )
            image, embedding = (
                Mirror(toolkit.cuda, tuple(engine.get_tensor_shape(name)), np.float32)
                for name in (IMAGE, EMBEDDING)
            )
            for mirror in (image, embedding):
                resources.callback(mirror.free)
            self._image = image
            self._feed = Feed({IMAGE: image}, (EMBEDDING, embedding))
            self._slot = PlainSlot(
                toolkit, found.plan.content, probe=self._feed, stream=self._stream, engine=engine
            )
            resources.callback(self._slot.close)
            self.golden_error = self._proven(found, size)
            self._resources = resources.pop_all()
        weakref.finalize(self, self._resources.close)

    @classmethod
    def open(
        cls,
        bundle: ModelBundle,
        *,
        options: EngineOptions,
        settings: TensorRtSettings | None = None,
    ) -> TensorRtRunner:
        """Return the navigator of `bundle`.

        Raises:
            EngineUnavailableError: Package, driver, GPU or plan is missing, or the plan does not
                answer as it should.
            BundleError: The bundle has no such graph.
        """
        settings = settings or TensorRtSettings()
        spec = bundle.manifest.navigator
        if spec is None:
            raise EngineUnavailableError(
                f"navigator 'tensorrt': bundle {bundle.manifest.name!r} has no navigator"
            )
        try:
            toolkit = Toolkit.open()
            order = navigator_order(bundle, threads=options.threads)
            try:
                found = _found(order, toolkit, settings)
            except SemlaError:
                toolkit.cuda.close()
                raise
            return cls(toolkit, found, size=spec.size)
        except EngineError as error:
            raise EngineUnavailableError(f"navigator 'tensorrt': {error}") from error

    def __call__(self, image: Float32Array) -> Float32Array:
        """Return the embedding of the preprocessed `image` (1, 3, S, S); thread-safe.

        Raises:
            EngineError: TensorRT failed, or the runner is closed.
        """
        with self._lock:
            if self._slot.engine is None:
                raise EngineError("the navigator's engine is closed: open a new one")
            np.copyto(self._image.host, image)
            self._image.upload(self._stream)
            return self._slot.probe()

    def close(self) -> None:
        """Release the engine; closing twice is allowed."""
        with self._lock:
            self._resources.close()

    def _proven(self, found: FoundPlan, size: int) -> float:
        golden = next((g for g in found.plan.record.goldens if g.weights == BASE), None)
        if golden is None:
            raise EngineError("the navigator's sidecar has no golden output: build it again")
        error = relative_error(self(_image(size)), golden)
        if not error <= LARGEST_ERROR:
            raise EngineError(
                f"the navigator's embedding differs from the reference by {error:.2g}, expected "
                f"at most {LARGEST_ERROR:g}: take navigator_engine 'onnx'"
            )
        return error


def navigator_order(bundle: ModelBundle, *, threads: int) -> Order:
    """Return what it takes to find or build the navigator's plan of `bundle`."""

    def reference() -> tuple[Golden, ...]:
        spec = bundle.manifest.navigator
        session = open_session(bundle.navigator_graph, threads=threads)
        try:
            (answer,) = session.run([EMBEDDING], {IMAGE: _image(spec.size if spec else 1)})
        except ORT_ERRORS as error:
            raise EngineError(f"the reference run of the navigator failed: {error}") from error
        return (sampled(answer, weights=BASE),)

    options = BuildOptions(classes=ClassRange.exactly(1), mode=CONSTANT, precision=FP16)
    return Order(bundle, NAVIGATOR, {}, options, reference)


def _found(order: Order, toolkit: Toolkit, settings: TensorRtSettings) -> FoundPlan:
    cache = settings.cache
    found = find_plan(order, toolkit, cache, accepts=lambda built, wanted: built == wanted)
    if found is None and not settings.build:
        raise missing_plan(order, toolkit, cache)
    return found or build_plan(order, toolkit, cache, progress=settings.progress)


def _image(size: int) -> Float32Array:
    """Return a fixed image as the navigator sees it, (1, 3, S, S) around 0."""
    image: Float32Array = question(size=size, classes=1, width=1).image / np.float32(64.0)
    image -= np.float32(2.0)
    return image
