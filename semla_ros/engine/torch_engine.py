"""The reference engine: the PyTorch network with its weights replaced functionally.

torch is imported when an engine is made, never when this module is.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.options import F32, EngineOptions
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.weights import SEGMENTATION_GRAPH, layers_of, second_tap
from semla_ros.errors import BundleError, ConfigError, EngineUnavailableError, TrainingError
from semla_ros.onnx_session import cpu_threads
from semla_ros.types import Float32Array, UInt8Array, WeightSet

if TYPE_CHECKING:
    from torch import Tensor

    from semla_ros.network.catseg import CatSeg


class TorchEngine(SegmentationEngine):
    """The network as it was trained, on the CPU, float32.

    The base network is never written to: each slot holds its own copies of the touched weights,
    and layers without one fall back to the base by themselves.
    """

    name: ClassVar[str] = "torch"

    def __init__(self, bundle: ModelBundle, *, threads: int = 0) -> None:
        """Build the network from the bundle's weights.

        Args:
            bundle: Where the weights are.
            threads: CPU threads, for the whole process as torch has it; 0: all cores but one.

        Raises:
            EngineUnavailableError: torch is not installed.
            BundleError: The weights are not those of a network this version can build.
        """
        if importlib.util.find_spec("torch") is None:
            raise EngineUnavailableError(
                "engine 'torch': expected PyTorch, found none: `pip install torch`, "
                "or take engine 'onnx'"
            )
        import torch

        torch.set_num_threads(cpu_threads(threads))
        size = bundle.manifest.segmentation.size
        self._model: CatSeg | None = _load_network(bundle)
        width = self._model.config.embed_dim
        super().__init__(layers_of(bundle, SEGMENTATION_GRAPH), size=size, feature_dim=width)
        self._input = InputBuffer(size)
        self._slots: list[dict[str, Tensor]] = [{}, {}]
        self._features: list[Tensor] = [torch.zeros(0, width), torch.zeros(0, width)]
        self._taps: list[Tensor | None] = [None, None]
        self._bundle = bundle

    @classmethod
    def open(cls, bundle: ModelBundle, *, options: EngineOptions) -> TorchEngine:
        """Return the engine of `bundle`."""
        options.require(cls.name, precisions=(F32,))
        return cls(bundle, threads=options.threads)

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        import torch

        self._slots[index] = {
            self.layers[name].parameter: torch.from_numpy(np.array(weight_set.weights[name]))
            for name in weight_set.weights
        }
        self._features[index] = torch.from_numpy(np.array(weight_set.text_features))
        tap = second_tap(self._bundle, weight_set.mix)
        self._taps[index] = None if tap is None else torch.tensor([tap])

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        import torch

        self._input.load(rgb)
        image = torch.from_numpy(self._input.tensor)
        model = cast("CatSeg", self._model)
        with torch.inference_mode():
            logits: Tensor = torch.func.functional_call(
                model, self._slots[index], (image, self._features[index], self._taps[index])
            )
        return cast(Float32Array, logits[0].numpy())

    def _close_impl(self) -> None:
        self._slots.clear()
        self._features.clear()
        self._model = None


def _load_network(bundle: ModelBundle) -> CatSeg:
    from safetensors.torch import load_file

    from semla_ros.network.checkpoint import catseg_from_state
    from semla_ros.network.config import CatSegConfig

    state = load_file(str(bundle.weights))
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    spec = bundle.manifest.segmentation
    try:
        config = CatSegConfig.from_state_dict(shapes, resolution=spec.size)
        return catseg_from_state(state, replace(config, pooling=spec.class_pooling))
    except (ConfigError, TrainingError) as error:
        raise BundleError(
            f"engine 'torch' cannot build the network of {bundle.weights.name}: {error}"
        ) from error
