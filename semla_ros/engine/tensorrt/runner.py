"""The navigator's graph on TensorRT: one image in, one embedding out, in FP16."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.core.engines import F16
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.types import Float32Array
from semla_ros.engine.contract import Tell
from semla_ros.engine.embedding_proof import require_embeddings
from semla_ros.engine.tensorrt.cuda import Cuda
from semla_ros.engine.tensorrt.plans import (
    CONSTANT,
    EMBEDDING,
    IMAGE,
    NAVIGATOR_GRAPH,
    PlanRequest,
    opened,
    plan_identity,
)
from semla_ros.engine.tensorrt.tensors import Mirror, enqueue, require_tensors
from semla_ros.engine.tensorrt.toolkit import Toolkit, asked


class TensorRtRunner:
    """Embeds images on a stream that yields to the frames'."""

    def __init__(self, toolkit: Toolkit, plan: bytes, *, size: tuple[int, int]) -> None:
        """Make the engine.

        Args:
            toolkit: TensorRT; closed with the runner.
            plan: Of the navigator's graph.
            size: (H, W) of the image.

        Raises:
            EngineError: TensorRT does not take the plan, or it is another graph's.
        """
        self.identity = plan_identity(toolkit, plan)
        self._lock = threading.Lock()
        cuda = self._cuda = toolkit.cuda
        engine = toolkit.deserialise(plan)
        require_tensors(engine, {IMAGE: (1, 3, *size), EMBEDDING: (1, -1)})
        self._image, self._embedding = (Mirror(cuda, engine, name) for name in (IMAGE, EMBEDDING))
        context = asked("makes no context", engine.create_execution_context)
        self._held: list[Any] = [context, engine]
        self._stream = cuda.stream(urgent=False)
        weakref.finalize(self, _release, self._held, cuda)

    @classmethod
    def open(
        cls,
        bundle: ModelBundle,
        *,
        build: bool = False,
        again: bool = False,
        tell: Tell | None = None,
    ) -> TensorRtRunner:
        """Return the navigator of `bundle`.

        Args:
            bundle: The model.
            build: Build a plan where none is kept; it is kept if it embeds as ONNX Runtime does.
            again: Build it even if one is kept.
            tell: Told how far a build is.

        Raises:
            EngineUnavailableError: Package, driver, GPU or plan is missing, or the plan does not
                answer as it should.
            BundleError: The bundle has no such graph.
        """
        spec = bundle.manifest.navigator
        if spec is None:
            raise EngineUnavailableError(
                f"navigator 'tensorrt': bundle {bundle.manifest.name!r} has no navigator"
            )
        wanted = PlanRequest(bundle, NAVIGATOR_GRAPH, CONSTANT, F16)
        return opened(
            wanted,
            lambda toolkit, plan: cls(toolkit, plan, size=spec.shape),
            lambda runner: require_embeddings(
                runner, bundle, engine="tensorrt", precision=F16, identity=runner.identity
            ),
            build=build,
            again=again,
            tell=tell,
        )

    def __call__(self, image: Float32Array) -> Float32Array:
        """Return the embedding of the preprocessed `image` (1, 3, H, W); thread-safe.

        Raises:
            EngineError: TensorRT failed, or the runner is closed.
        """
        with self._lock:
            if not self._held:
                raise EngineError("the navigator's engine is closed: open a new one")
            np.copyto(self._image.host, image)
            self._image.upload(self._stream)
            addresses = {IMAGE: self._image.pointer, EMBEDDING: self._embedding.pointer}
            enqueue(self._held[0], addresses, stream=self._stream)
            self._embedding.download(self._stream)
            self._cuda.synchronize(self._stream)
            embedding: Float32Array = self._embedding.host.copy()
            return embedding

    def close(self) -> None:
        """Release the engine; closing twice is allowed."""
        with self._lock:
            _release(self._held, self._cuda)


def _release(held: list[Any], cuda: Cuda) -> None:
    held.clear()  # the binding frees context and engine with their last names
    cuda.close()
