"""TensorRT itself: module, logger, runtime and GPU, opened once, missing parts named."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from semla_ros.engine.tensorrt.cuda import Cuda
from semla_ros.errors import EngineError, EngineUnavailableError

_LOG = logging.getLogger(__name__)

API_ERRORS = (RuntimeError, TypeError, ValueError, MemoryError)
"""What the Python bindings raise: pybind11's translations, TypeError for a null factory."""


class PlanRefusedError(EngineError):
    """TensorRT does not take a plan that was good once: build it again."""


@dataclass(frozen=True, slots=True)
class Toolkit:
    """What every use of TensorRT needs.

    Attributes:
        trt: The module `tensorrt`.
        cuda: The GPU, with all memory of the engine that is made with this.
        logger: Passes TensorRT's messages on to `logging`.
        runtime: Deserialises plans.
    """

    trt: Any
    cuda: Cuda
    logger: Any
    runtime: Any

    @classmethod
    def open(cls) -> Toolkit:
        """Return TensorRT on the first visible GPU.

        Raises:
            EngineUnavailableError: The package, the driver or the GPU is missing; it says which.
        """
        trt = _module()
        cuda = Cuda.open()
        logger = logger_of(trt)
        try:
            # The parser of TensorRT 8 makes plugins of InstanceNormalization.
            trt.init_libnvinfer_plugins(logger, "")
            runtime = trt.Runtime(logger)
        except API_ERRORS as error:
            gpu = cuda.device.gpu
            cuda.close()
            raise EngineUnavailableError(
                f"TensorRT {trt.__version__} does not start on {gpu}: {error}: "
                "check that driver, CUDA and TensorRT fit, or take engine 'onnx'"
            ) from error
        return cls(trt, cuda, logger, runtime)

    @property
    def platform(self) -> Mapping[str, str | int]:
        """What plans depend on; they run nowhere else."""
        return {"tensorrt": str(self.trt.__version__), **asdict(self.cuda.device)}

    def deserialise(self, plan: bytes) -> Any:  # noqa: ANN401  trt.ICudaEngine
        """Return the engine of `plan`.

        Raises:
            PlanRefusedError: TensorRT does not take the plan.
        """
        try:
            engine = self.runtime.deserialize_cuda_engine(plan)
        except API_ERRORS as error:
            raise PlanRefusedError(f"TensorRT refuses the plan: {error}") from error
        if engine is None:
            raise PlanRefusedError("TensorRT refuses the plan: see its messages above")
        return engine

    def context(self, engine: Any) -> Any:  # noqa: ANN401  trt.ICudaEngine, trt.IExecutionContext
        """Return a new execution context of `engine`.

        Raises:
            EngineError: There is no memory for it.
        """
        try:
            context = engine.create_execution_context()
        except API_ERRORS as error:
            raise EngineError(f"TensorRT makes no execution context: {error}") from error
        if context is None:
            raise EngineError("TensorRT makes no execution context: is GPU memory full?")
        return context


def _module() -> Any:  # noqa: ANN401  a module without types
    """Return the module `tensorrt`.

    Raises:
        EngineUnavailableError: It does not load, or is older than 8.5.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(
            f"the Python package tensorrt does not load: {error}: install the libraries that it "
            "names, or take engine 'onnx'"
        ) from error
    if not hasattr(trt.IExecutionContext, "execute_async_v3"):
        raise EngineUnavailableError(
            f"expected TensorRT 8.5 or newer, got {trt.__version__}: update it, or take engine "
            "'onnx'"
        )
    return trt


def logger_of(trt: Any) -> Any:  # noqa: ANN401  trt.ILogger
    """Return a logger that passes TensorRT's messages on to `logging`."""
    base: Any = trt.ILogger
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
    }

    class Bridge(base):  # type: ignore[misc]  # the module has no types
        """Must not raise: TensorRT calls it from its own threads."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401  trt enum
            _LOG.log(levels.get(severity, logging.DEBUG), "TensorRT: %s", msg)

    return Bridge()
