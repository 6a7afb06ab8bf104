"""Answers under a prepared slot while frames go on: one thread, as nice as who asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import onnxruntime

from semla_ros.bundle import GraphWeight, ModelBundle
from semla_ros.bundle.onnx_session import ORT_ERRORS, cpu_threads, open_session
from semla_ros.core.errors import EngineError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.weights import SECOND_TAP, shared_initializers

_ONE_THREAD = 1


class ProofSession:
    """ONNX Runtime on the weight buffers of a slot that does not serve; nothing is copied.

    Threads of a session are not niced: with more than one, a proof in the background would take
    the cores that frames are computed on. So it has a session of one thread, which runs on the
    caller's; an engine whose own session has one thread lends that.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        layers: Mapping[str, GraphWeight],
        *,
        own: onnxruntime.InferenceSession | None = None,
        threads: int = 0,
    ) -> None:
        """Open nothing yet.

        Args:
            bundle: The model.
            layers: Adaptable layers of its segmentation graph by name.
            own: The engine's session, if it has one.
            threads: That `own` was opened with.
        """
        self._layers = layers
        self._session = own if cpu_threads(threads) == _ONE_THREAD else None
        self._open = partial(open_session, bundle.segmentation_graph, threads=_ONE_THREAD)
        self._shared = partial(shared_initializers, bundle, layers)
        self._input = InputBuffer(bundle.manifest.segmentation.size)

    def logits(
        self,
        image: UInt8Array | Float32Array,
        arrays: Mapping[str, Float32Array],
        *,
        features: Float32Array,
        tap: int | None,
    ) -> Float32Array:
        """Return the logits (T, h, w) of `image` (H, W, 3).

        Args:
            image: RGB 0..255.
            arrays: Layer name -> weight in graph layout.
            features: (T, D).
            tap: For the graph's input `second_tap`, None where it has none.

        Raises:
            EngineError: ONNX Runtime failed.
        """
        self._input.load(image)
        try:
            if self._session is None:
                self._session = self._open(shared=self._shared())
            binding = self._session.io_binding()
            inputs: dict[str, Float32Array | npt.NDArray[np.int64]] = {
                "image": self._input.tensor,
                "text_features": features,
                **{self._layers[name].initializer: array for name, array in arrays.items()},
            }
            if tap is not None:
                inputs[SECOND_TAP] = np.array([tap], np.int64)
            for name, array in inputs.items():
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
                binding.bind_ortvalue_input(name, value)
            binding.bind_output("logits")
            self._session.run_with_iobinding(binding)
            (logits,) = binding.copy_outputs_to_cpu()
        except ORT_ERRORS as error:
            raise EngineError(f"ONNX Runtime failed on the proof of a swap: {error}") from error
        proved: Float32Array = logits[0]
        return proved

    def close(self) -> None:
        """Release the session."""
        self._session = None
