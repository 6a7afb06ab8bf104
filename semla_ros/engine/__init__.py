"""Segmenting with the active weights: one contract, several runtimes."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import EngineUnavailableError, SemlaError
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.engine.golden import require_golden
from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.openvino_engine import OpenVinoEngine
from semla_ros.engine.options import AUTO, BF16, CPU, DEVICES, F16, F32, EngineOptions
from semla_ros.engine.torch_engine import TorchEngine

_LOG = logging.getLogger(__name__)


class _Opener(Protocol):
    def __call__(self, bundle: ModelBundle, *, options: EngineOptions) -> SegmentationEngine:
        """Return an engine of `bundle`."""
        ...


def require_tensorrt() -> None:
    """Check that TensorRT is installed, without importing anything of it.

    Raises:
        EngineUnavailableError: It is not.
    """
    if importlib.util.find_spec("tensorrt") is None:
        raise EngineUnavailableError(
            "TensorRT: expected the Python package tensorrt, found none: pip install "
            "'.[tensorrt]', or take engine 'onnx'"
        )


def _tensorrt(bundle: ModelBundle, *, options: EngineOptions) -> SegmentationEngine:
    require_tensorrt()
    from semla_ros.engine.tensorrt.engine import TensorRtEngine

    return TensorRtEngine.open(bundle, options=options)


def _onnx(bundle: ModelBundle, *, options: EngineOptions) -> OnnxEngine:
    options.require("onnx", precisions=(F32,))
    return OnnxEngine(bundle, threads=options.threads)


def _fake(bundle: ModelBundle, *, options: EngineOptions) -> FakeEngine:
    options.require("fake", precisions=(F32,), devices=(CPU,))
    return FakeEngine.open(bundle, threads=options.threads)


ENGINES: Mapping[str, _Opener] = {
    "tensorrt": _tensorrt,
    "openvino": OpenVinoEngine.open,
    "onnx": _onnx,
    "torch": TorchEngine.open,
    "fake": _fake,
}


@dataclass(frozen=True, slots=True)
class Preference:
    """What `auto` tries.

    Attributes:
        engine: A key of `ENGINES`.
        precisions: What it is taken for; the first is asked of it where the user left that open
            too. Empty: whatever it has.
        golden: Hold its answer against ONNX Runtime's before it is trusted.
    """

    engine: str
    precisions: tuple[str, ...] = ()
    golden: bool = False


PREFERENCES: tuple[Preference, ...] = (
    Preference("tensorrt", (F16, F32), golden=True),
    Preference("openvino", (BF16, F16), golden=True),
    Preference("onnx"),
    Preference("torch"),
)
"""What `auto` tries, in this order. TensorRT has a plan only where that was proven, and none is
built here. In float32 OpenVINO gains nothing with large models."""


def create_engine(
    name: str,
    bundle: ModelBundle,
    *,
    threads: int = 0,
    precision: str = AUTO,
    device: str = AUTO,
) -> SegmentationEngine:
    """Return the engine `name` of `bundle`; its `reason` says why it was that one.

    Args:
        name: A key of `ENGINES`, or `auto` for the best that works here.
        bundle: The model.
        threads: CPU threads; 0: all cores but one.
        precision: auto, f32, bf16 or f16.
        device: auto, cpu or cuda.

    Raises:
        EngineUnavailableError: Unknown, not available on this machine, or without the precision
            or device that is asked for; only `auto` degrades.
        BundleError: The bundle does not hold what the engine needs.
    """
    options = EngineOptions(threads, precision, device)
    if name == AUTO:
        return _best(bundle, options)
    if name not in ENGINES:
        raise EngineUnavailableError(
            f"expected an engine of {(AUTO, *ENGINES)!r}, got {name!r}: choose one of them"
        )
    engine = ENGINES[name](bundle, options=options)
    engine.reason = "asked for"
    return engine


def _best(bundle: ModelBundle, options: EngineOptions) -> SegmentationEngine:
    refused: list[str] = []
    for each in PREFERENCES:
        try:
            engine = _tried(each, bundle, options)
        except EngineUnavailableError as error:
            refused.append(str(error))
            continue
        engine.reason = "; not ".join((f"auto: {engine.reason}", *refused))
        _LOG.info("engine %s in %s, %s", engine.name, engine.precision, engine.reason)
        return engine
    raise EngineUnavailableError(f"engine auto: none works here: {'; '.join(refused)}")


def _tried(
    preference: Preference, bundle: ModelBundle, options: EngineOptions
) -> SegmentationEngine:
    """Return the preferred engine, proven where that is asked; `reason` says how it did."""
    if preference.precisions:
        options.require(preference.engine, precisions=preference.precisions, devices=DEVICES)
        if options.precision == AUTO:
            options = replace(options, precision=preference.precisions[0])
    engine = ENGINES[preference.engine](bundle, options=options)
    if not preference.golden:
        engine.reason = "the first that works here"
        return engine
    try:
        error = require_golden(engine, bundle)
    except SemlaError:
        engine.close()
        raise
    engine.reason = f"the first that works here, within {error:.2g} of ONNX Runtime"
    return engine


__all__ = [
    "ENGINES",
    "PREFERENCES",
    "EngineOptions",
    "SegmentationEngine",
    "create_engine",
    "require_tensorrt",
]
