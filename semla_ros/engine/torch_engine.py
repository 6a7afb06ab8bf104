"""The reference engine: the PyTorch network with its weights replaced functionally.

On the CPU in float32 it is what the other engines are held against. `device: cuda` is for GPUs
without TensorRT. torch is imported when an engine is made, never when this module is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.engines import AUTO, CPU, CUDA, F16, F32
from semla_ros.core.errors import BundleError, ConfigError, EngineUnavailableError, TrainingError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.contract import NOT_PROVED, READY, EngineFacts, EngineStatus
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.slots import TwoSlotEngine
from semla_ros.engine.weights import (
    SEGMENTATION_GRAPH,
    layers_of,
    second_tap,
)

if TYPE_CHECKING:
    from semla_ros.engine.torch_network import CpuNetwork
    from semla_ros.network.catseg import CatSeg

_FAMILY = "catseg"


class TorchEngine(TwoSlotEngine):
    """The network as it was trained: float32 on the CPU, float16 on a GPU, or as asked."""

    def __init__(self, bundle: ModelBundle, *, options: EngineOptions | None = None) -> None:
        """Build the network from the bundle's weights.

        Args:
            bundle: Where the weights are.
            options: Threads (for the whole process, as torch has it), precision and device;
                auto: the CPU, there f32; on a GPU f16.

        Raises:
            EngineUnavailableError: No GPU, or no torch network of this family.
            BundleError: The weights are not those of a network this version can build.
        """
        options = options or EngineOptions()
        device = CUDA if options.device == CUDA else CPU
        if device == CUDA:
            _require_gpu()
        usual = F16 if device == CUDA else F32
        model = load_network(bundle)
        facts = EngineFacts(
            "torch",
            layers_of(bundle, SEGMENTATION_GRAPH),
            bundle.manifest.segmentation.shape,
            model.config.embed_dim,
            precision=usual if options.precision == AUTO else options.precision,
            device=device,
            reason=options.reason,
        )
        super().__init__(facts)
        self._bundle = bundle
        self._input = InputBuffer(facts.size)
        self._network = self._opened(model, threads=options.threads)
        self._slots = [self._network.slot() for _ in range(2)]

    @property
    def status(self) -> EngineStatus:
        """Ready."""
        return EngineStatus(READY, self.facts.name, NOT_PROVED)

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        tap = second_tap(self._bundle, weight_set.mix)
        self._network.fill(self._slots[index], weight_set, tap=tap)

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        self._input.load(rgb)
        return self._network.run(self._slots[index])

    def _close_impl(self) -> None:
        self._network.close()
        self._slots.clear()
        del self._network

    def _opened(self, model: CatSeg, *, threads: int) -> CpuNetwork:
        import torch

        from semla_ros.engine.torch_network import CpuNetwork, CudaNetwork

        torch.set_num_threads(cpu_threads(threads))
        kind = CudaNetwork if self.facts.device == CUDA else CpuNetwork
        return kind(
            model,
            self._input.tensor,
            layers=self.facts.layers,
            base=BaseWeights.open(self._bundle),
            precision=self.facts.precision,
        )


def open_engine(bundle: ModelBundle, *, options: EngineOptions) -> TorchEngine:
    """Return the engine of `bundle`, see `TorchEngine`."""
    return TorchEngine(bundle, options=options)


def _require_gpu() -> None:
    """Check that torch has a GPU.

    Raises:
        EngineUnavailableError: It has none.
    """
    import torch

    if not torch.cuda.is_available():
        raise EngineUnavailableError(
            f"engine 'torch': expected an NVIDIA GPU for device 'cuda', found none that "
            f"PyTorch {torch.__version__} can use (built for CUDA {torch.version.cuda}): "
            "install a driver and a CUDA build of torch, or set device to auto"
        )


def load_network(bundle: ModelBundle) -> CatSeg:
    """Return the network of `bundle` with its base weights.

    Raises:
        EngineUnavailableError: Its family is a graph alone; nothing here makes it of weights.
        BundleError: The weights are not those of a network this version can build.
    """
    if (family := bundle.manifest.family) != _FAMILY:
        raise EngineUnavailableError(
            f"engine 'torch': expected a bundle of family {_FAMILY!r}, got {family!r}, which is a "
            "graph alone: take engine 'onnx' or 'openvino'"
        )
    from safetensors.torch import load_file

    from semla_ros.network.checkpoint import catseg_from_state
    from semla_ros.network.config import CatSegConfig

    state = load_file(str(bundle.weights))
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    spec = bundle.manifest.segmentation
    try:
        config = CatSegConfig.from_state_dict(
            shapes, resolution=spec.size, pooling=spec.class_pooling
        )
        return catseg_from_state(state, config)
    except (ConfigError, TrainingError) as error:
        raise BundleError(
            f"engine 'torch' cannot build the network of {bundle.weights.name}: {error}"
        ) from error
