"""TensorRT itself: module, logger, runtime and GPU, opened once, missing parts named."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import Any

from semla_ros.engine.tensorrt.cuda import Cuda
from semla_ros.engine.tensorrt.features import Features, features_of
from semla_ros.engine.tensorrt.plan_key import Platform
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
        features: What it can do.
        cuda: The GPU.
        logger: Passes TensorRT's messages on to `logging`.
        runtime: Deserialises plans.
    """

    trt: Any
    features: Features
    cuda: Cuda
    logger: Any
    runtime: Any

    @classmethod
    def open(cls) -> Toolkit:
        """Return TensorRT on the first visible GPU.

        Raises:
            EngineUnavailableError: The package, the driver or the GPU is missing; it says which.
        """
        trt = import_tensorrt()
        features = features_of(trt)
        if not features.named_tensors:
            raise EngineUnavailableError(
                f"expected TensorRT 8.5 or newer, got {trt.__version__}: update it, or take "
                "engine 'onnx'"
            )
        cuda = Cuda.open()
        logger = logger_of(trt)
        try:
            # The parser of TensorRT 8 makes plugins of InstanceNormalization.
            trt.init_libnvinfer_plugins(logger, "")
            runtime = trt.Runtime(logger)
        except API_ERRORS as error:
            gpu = cuda.device.name
            cuda.close()
            raise EngineUnavailableError(
                f"TensorRT {trt.__version__} does not start on {gpu}: {error}: "
                "check that driver, CUDA and TensorRT fit, or take engine 'onnx'"
            ) from error
        return cls(trt, features, cuda, logger, runtime)

    @property
    def platform(self) -> Platform:
        """What plans depend on."""
        device = self.cuda.device
        return Platform(
            tensorrt=str(self.trt.__version__),
            gpu=device.name,
            compute_capability=device.compute_capability,
            driver=device.driver,
        )

    def deserialise(self, content: bytes) -> Any:  # noqa: ANN401  trt.ICudaEngine
        """Return the engine of the plan `content`.

        Raises:
            PlanRefusedError: TensorRT does not take the plan.
        """
        try:
            engine = self.runtime.deserialize_cuda_engine(content)
        except API_ERRORS as error:
            raise PlanRefusedError(f"TensorRT refuses the plan: {error}") from error
        if engine is None:
            raise PlanRefusedError("TensorRT refuses the plan: see its messages above")
        return engine

    def context(self, engine: Any) -> Any:  # noqa: ANN401  trt.IExecutionContext
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


def import_tensorrt() -> Any:  # noqa: ANN401  a module without types
    """Return the module `tensorrt`.

    Raises:
        EngineUnavailableError: It is not installed, or its libraries are not.
    """
    if importlib.util.find_spec("tensorrt") is None:
        raise EngineUnavailableError(
            "expected the Python package tensorrt, found none: pip install "
            "'semla-ros[tensorrt]', or take engine 'onnx'"
        )
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(
            f"the Python package tensorrt does not load: {error}: install the libraries that it "
            "names, or take engine 'onnx'"
        ) from error


def logger_of(trt: Any) -> Any:  # noqa: ANN401  trt.ILogger
    """Return a logger that passes TensorRT's messages on to `logging`."""
    base: Any = trt.ILogger
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.NOTSET,
    }

    class Bridge(base):  # type: ignore[misc]  # the module has no types
        """Must not raise: TensorRT calls it from its own threads."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401  trt enum
            level = levels.get(severity, logging.DEBUG)
            if level:
                _LOG.log(level, "TensorRT: %s", msg)

    return Bridge()
