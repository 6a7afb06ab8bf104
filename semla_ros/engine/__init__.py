"""Segmenting with the active weights: one contract, several runtimes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from dataclasses import replace
from typing import Protocol

from semla_ros.bundle import ModelBundle
from semla_ros.core.engines import AUTO, ENGINES, EngineKind
from semla_ros.core.errors import EngineUnavailableError, SemlaError
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.options import EngineOptions

__all__ = [
    "EngineOptions",
    "SegmentationEngine",
    "create_engine",
    "open_engine",
    "require_package",
]

_LOG = logging.getLogger(__name__)


class _Opener(Protocol):
    def __call__(self, bundle: ModelBundle, *, options: EngineOptions) -> SegmentationEngine:
        """Return an engine of `bundle`."""
        ...


def create_engine(
    name: str,
    bundle: ModelBundle,
    *,
    threads: int = 0,
    precision: str = AUTO,
    device: str = AUTO,
) -> SegmentationEngine:
    """Return the engine `name` of `bundle`; its facts say why it is that one.

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
    return _best(bundle, options) if name == AUTO else open_engine(name, bundle, options)


def open_engine(name: str, bundle: ModelBundle, options: EngineOptions) -> SegmentationEngine:
    """Return the engine `name`, a key of `ENGINES`, of `bundle`; see `create_engine`.

    Raises:
        EngineUnavailableError, BundleError: See `create_engine`.
    """
    if name not in ENGINES:
        raise EngineUnavailableError(
            f"expected an engine of {(AUTO, *ENGINES)!r}, got {name!r}: choose one of them"
        )
    kind = ENGINES[name]
    options.require(name, kind)
    if kind.package:
        require_package(kind.package)
    return _opener(kind)(bundle, options=options)


def require_package(package: str) -> None:
    """Check that the Python `package` of an engine is installed, without importing it.

    Raises:
        EngineUnavailableError: It is not.
    """
    if importlib.util.find_spec(package) is None:
        raise EngineUnavailableError(
            f"engine {package!r}: expected the Python package {package}, found none: "
            f"pip install {package}, or take engine 'onnx'"
        )


def _opener(kind: EngineKind) -> _Opener:
    opener: _Opener = importlib.import_module(f"semla_ros.engine.{kind.module}").open_engine
    return opener


def _best(bundle: ModelBundle, options: EngineOptions) -> SegmentationEngine:
    refused: list[str] = []
    for name, kind in ENGINES.items():
        if not kind.auto:
            continue
        try:
            engine = _tried(name, bundle, options, refused)
        except EngineUnavailableError as error:
            refused.append(str(error))
            continue
        facts = engine.facts
        _LOG.info("engine %s in %s, %s", facts.name, facts.precision, facts.reason)
        return engine
    raise EngineUnavailableError(f"engine auto: none works here: {'; '.join(refused)}")


def _tried(
    name: str, bundle: ModelBundle, options: EngineOptions, refused: list[str]
) -> SegmentationEngine:
    """Return the engine `name`, proven where that is asked.

    Raises:
        EngineUnavailableError: It is not available here, or not to be trusted.
    """
    from semla_ros.engine.golden import BOUNDS, require_golden

    kind = ENGINES[name]
    wanted = options.for_auto(name, kind)
    reason = "auto: the first that works here"
    if kind.golden:
        reason += f", within {BOUNDS[wanted.precision]:g} of ONNX Runtime"
    reason = "; not ".join((reason, *refused))
    engine = open_engine(name, bundle, replace(wanted, reason=reason))
    if kind.golden:
        try:
            error = require_golden(engine, bundle)
        except SemlaError:
            engine.close()
            raise
        _LOG.info("engine %s answers within %.2g of ONNX Runtime", name, error)
    return engine
