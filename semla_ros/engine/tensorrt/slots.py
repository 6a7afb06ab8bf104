"""Engines made from one plan: to serve, to be refitted, to be fed weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semla_ros.engine.tensorrt.cuda import DeviceBuffer
from semla_ros.engine.tensorrt.execution import Feed, enqueue
from semla_ros.engine.tensorrt.refit_map import Prototype
from semla_ros.engine.tensorrt.staging import HostBlock, Layout
from semla_ros.engine.tensorrt.toolkit import API_ERRORS, Toolkit
from semla_ros.engine.tensorrt.wire import RefitWire
from semla_ros.errors import EngineError
from semla_ros.types import Float32Array

_REFIT_THREADS = 2


class PlainSlot:
    """An engine and its execution context."""

    def __init__(
        self,
        toolkit: Toolkit,
        content: bytes,
        *,
        probe: Feed,
        stream: int,
        engine: Any = None,  # noqa: ANN401  trt.ICudaEngine
    ) -> None:
        """Deserialise the plan.

        Args:
            toolkit: TensorRT.
            content: The plan.
            probe: The fixed question, uploaded already.
            stream: Where everything but frames happens.
            engine: Of that plan, where another slot has deserialised it.

        Raises:
            EngineError: TensorRT does not take the plan.
        """
        self.toolkit = toolkit
        self._content = content
        self._probe = probe
        self._stream = stream
        self.engine: Any = toolkit.deserialise(content) if engine is None else engine
        self.context: Any = toolkit.context(self.engine)

    def serve(self, feed: Feed, *, stream: int) -> None:
        """Put one run on `stream`.

        Raises:
            EngineError: The engine could not be made anew after a fault, or does not run.
        """
        if self.context is None:
            raise EngineError("no engine is left after a fault: restart the node")
        enqueue(self.context, feed, stream=stream)

    def probe(self) -> Float32Array:
        """Return a copy of the logits of the fixed question."""
        return self.answer(self._probe)

    def answer(self, feed: Feed) -> Float32Array:
        """Run `feed`, whose inputs are uploaded, and return a copy of its output."""
        enqueue(self.context, feed, stream=self._stream)
        _, output = feed.output
        output.download(self._stream)
        self.toolkit.cuda.synchronize(self._stream)
        return np.array(output.host, np.float32)

    def deserialise(self) -> None:
        """Make engine and context anew from the plan."""
        self.close()
        self.engine = self.toolkit.deserialise(self._content)
        self.context = self.toolkit.context(self.engine)

    def close(self) -> None:
        """Drop context and engine, in this order; the binding frees them with the last name."""
        self.context = None
        self.engine = None


class RefittableSlot(PlainSlot):
    """An engine whose weights are refitted; one of the two that take turns."""

    def __init__(
        self,
        toolkit: Toolkit,
        content: bytes,
        *,
        probe: Feed,
        stream: int,
        engine: Any = None,  # noqa: ANN401  trt.ICudaEngine
    ) -> None:
        """See `PlainSlot`; `attach` before the first refit."""
        super().__init__(toolkit, content, probe=probe, stream=stream, engine=engine)
        self._wire: RefitWire | None = None
        self._refitter: Any = None
        self._validated = False

    def refittable(self) -> tuple[str, ...]:
        """Return the names of all weights that can be refitted."""
        return tuple(self._new_refitter().get_all_weights())

    def prototypes(self, names: tuple[str, ...]) -> Mapping[str, Prototype]:
        """Return what the engine wants for each of `names`; empty where TensorRT does not say."""
        if not self.toolkit.features.prototypes:
            return {}
        refitter = self._new_refitter()
        wanted = {name: refitter.get_weights_prototype(name) for name in names}
        return {name: Prototype(w.dtype.name, int(w.size)) for name, w in wanted.items()}

    def attach(self, wire: RefitWire) -> None:
        """Read weights from `wire` from now on."""
        self._wire = wire
        self._refitter = None

    def stage(self, block: HostBlock) -> None:
        """Bring the set in `block` to the wire."""
        if self._wire is None:
            raise EngineError("a slot without a wire cannot be refitted")
        self._wire.load(block, stream=self._stream)

    def refit(self) -> bool:
        """Return whether TensorRT took what is on the wire; waits until it is in place.

        Raises:
            EngineError: TensorRT raised, or weights are missing.
        """
        features, cuda = self.toolkit.features, self.toolkit.cuda
        try:
            refitter = self._ready_refitter()
            missing = refitter.get_missing_weights()
            if missing:
                raise EngineError(f"TensorRT misses weights {sorted(missing)[:3]!r}")
            if features.async_refit:
                taken = bool(refitter.refit_cuda_engine_async(self._stream))
                cuda.synchronize(self._stream)
            else:
                cuda.synchronize(self._stream)
                taken = bool(refitter.refit_cuda_engine())
        except API_ERRORS as error:
            raise EngineError(f"TensorRT failed while refitting: {error}") from error
        if not features.lasting_contexts:
            self._refitter = None
            self.context = None
            self.context = self.toolkit.context(self.engine)
        if taken and features.weights_validation and not self._validated:
            self._validated = True
            refitter.weights_validation = False
        return taken

    def validate(self, wanted: bool) -> None:
        """Check values in every refit from now on, or in none, where TensorRT has the choice.

        Without a word the first refit is checked and the others are not.
        """
        self._validated = True
        if self.toolkit.features.weights_validation:
            self._ready_refitter().weights_validation = wanted

    def close(self) -> None:
        """Drop refitter, context and engine."""
        self._refitter = None
        self._validated = False
        super().close()

    def _ready_refitter(self) -> Any:  # noqa: ANN401  trt.Refitter
        """Return the refitter with every weight set; made once where set weights last."""
        if self._refitter is None:
            if self._wire is None:
                raise EngineError("a slot without a wire cannot be refitted")
            refitter = self._new_refitter()
            self._wire.attach(refitter)
            self._refitter = refitter
        return self._refitter

    def _new_refitter(self) -> Any:  # noqa: ANN401  trt.Refitter
        try:
            refitter = self.toolkit.trt.Refitter(self.engine, self.toolkit.logger)
        except API_ERRORS as error:
            raise EngineError(
                f"the plan cannot be refitted: {error}: build it with --mode refit"
            ) from error
        refitter.max_threads = _REFIT_THREADS
        return refitter


class InputSlot:
    """A set of weights that the one engine reads as inputs; nothing is refitted."""

    def __init__(self, shared: PlainSlot, layout: Layout, *, probe: Feed, stream: int) -> None:
        """Allocate device memory for one set.

        Args:
            shared: The engine with a context for probes; frames have their own.
            layout: Places of the weights.
            probe: The fixed question without weights.
            stream: Where everything but frames happens.
        """
        self._shared = shared
        self._stream = stream
        self._cuda = shared.toolkit.cuda
        self._memory = DeviceBuffer(self._cuda, layout.nbytes)
        self.addresses = {
            place.layer.initializer: self._memory.pointer + place.offset
            for place in layout.places.values()
        }
        self._probe = Feed(probe.inputs, probe.output, self.addresses, probe.shaped)
        self._nbytes = layout.nbytes

    def stage(self, block: HostBlock) -> None:
        """Bring the set in `block` to the device, with one copy."""
        pointer = block.memory.ctypes.data
        self._cuda.upload(self._memory.pointer, pointer, self._nbytes, stream=self._stream)

    def refit(self) -> bool:
        """Return True once the copy is through: there is nothing to refit."""
        self._cuda.synchronize(self._stream)
        return True

    def probe(self) -> Float32Array:
        """Return a copy of the logits of the fixed question with this set."""
        return self._shared.answer(self._probe)

    def deserialise(self) -> None:
        """Fail: the engine was not changed, so making it anew would mend nothing.

        Raises:
            EngineError: Always.
        """
        raise EngineError("weights that are inputs leave the engine as it is: nothing to reload")

    def close(self) -> None:
        """Give the memory back."""
        self._memory.free()
