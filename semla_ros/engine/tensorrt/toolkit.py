"""TensorRT itself: module, logger, runtime and GPU, opened once, missing parts named."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.engine.tensorrt.cuda import Cuda

_LOG = logging.getLogger(__name__)

_API_ERRORS = (RuntimeError, TypeError, ValueError, MemoryError)
"""What the Python bindings raise: pybind11's translations, TypeError for a null factory."""

_Answer = TypeVar("_Answer")


class PlanRefusedError(EngineError):
    """TensorRT does not take a plan that was good once: build it again."""


def asked(
    what: str, call: Callable[[], _Answer], *, error: type[EngineError] = EngineError
) -> _Answer:
    """Return what TensorRT answers to `call`.

    Args:
        what: What it does when it fails, as `refuses the plan`.
        call: Calls it once.
        error: Raised where it raises, or answers None or False.

    Raises:
        EngineError: An `error`.
    """
    try:
        answer = call()
    except _API_ERRORS as reason:
        raise error(f"TensorRT {what}: {reason}") from reason
    if answer is None or answer is False:
        raise error(f"TensorRT {what}: see its messages above")
    return answer


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
        # The parser of TensorRT 8 makes plugins of InstanceNormalization.
        trt.init_libnvinfer_plugins(logger, "")
        what = f"{trt.__version__} does not start on {cuda.platform['gpu']}"
        try:
            runtime = asked(what, lambda: trt.Runtime(logger), error=EngineUnavailableError)
        except EngineUnavailableError:
            cuda.close()
            raise
        return cls(trt, cuda, logger, runtime)

    @property
    def platform(self) -> Mapping[str, str]:
        """What plans depend on; they run nowhere else."""
        return {"tensorrt": str(self.trt.__version__), **self.cuda.platform}

    def deserialise(self, plan: bytes) -> Any:  # noqa: ANN401  trt.ICudaEngine
        """Return the engine of `plan`.

        Raises:
            PlanRefusedError: TensorRT does not take the plan.
        """
        return asked(
            "refuses the plan",
            lambda: self.runtime.deserialize_cuda_engine(plan),
            error=PlanRefusedError,
        )


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
    loud = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.ERROR, "WARNING": logging.WARNING}

    class Bridge(base):  # type: ignore[misc]  # the module has no types
        """Must not raise: TensorRT calls it from its own threads."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401  trt enum
            _LOG.log(loud.get(severity.name, logging.DEBUG), "TensorRT: %s", msg)

    return Bridge()
