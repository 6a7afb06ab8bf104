"""Segmenting with the active weights: one contract, several runtimes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from semla_ros.bundle import ModelBundle
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.torch_engine import TorchEngine
from semla_ros.errors import EngineUnavailableError

_LOG = logging.getLogger(__name__)

AUTO = "auto"


class _Opener(Protocol):
    def __call__(self, bundle: ModelBundle, *, threads: int) -> SegmentationEngine:
        """Return an engine of `bundle`."""
        ...


ENGINES: Mapping[str, _Opener] = {
    "onnx": OnnxEngine.open,
    "torch": TorchEngine.open,
    "fake": FakeEngine.open,
}

_PREFERENCE = ("onnx",)


def create_engine(name: str, bundle: ModelBundle, *, threads: int = 0) -> SegmentationEngine:
    """Return the engine `name` of `bundle`.

    Args:
        name: A key of `ENGINES`, or `auto` for the best that works here.
        bundle: The model.
        threads: CPU threads; 0: all cores but one.

    Raises:
        EngineUnavailableError: Unknown, or not available on this machine; only `auto` degrades.
        BundleError: The bundle does not hold what the engine needs.
    """
    if name == AUTO:
        return _best(bundle, threads=threads)
    if name not in ENGINES:
        raise EngineUnavailableError(
            f"expected an engine of {(AUTO, *ENGINES)!r}, got {name!r}: choose one of them"
        )
    return ENGINES[name](bundle, threads=threads)


def _best(bundle: ModelBundle, *, threads: int) -> SegmentationEngine:
    refused: list[str] = []
    for name in _PREFERENCE:
        try:
            engine = ENGINES[name](bundle, threads=threads)
        except EngineUnavailableError as error:
            refused.append(f"{name}: {error}")
        else:
            _LOG.info("engine auto: took %s (not available: %s)", name, refused or "none")
            return engine
    raise EngineUnavailableError(f"engine auto: none works here: {'; '.join(refused)}")


__all__ = ["ENGINES", "SegmentationEngine", "create_engine"]
