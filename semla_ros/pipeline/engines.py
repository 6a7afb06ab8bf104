"""Which engine segments and which one embeds; a missing plan is built behind the scenes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from semla_ros.bundle import ModelBundle
from semla_ros.config import Config
from semla_ros.engine import EngineOptions, create_engine
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.deferred import DeferredEngine, Tell
from semla_ros.engine.tensorrt.availability import only_lacks_plan
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.runner import TensorRtRunner
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.errors import EngineUnavailableError
from semla_ros.navigator.encoder import ImageEncoder, OnnxImageEncoder, RunnerImageEncoder

_LOG = logging.getLogger(__name__)

AUTO, TENSORRT = "auto", "tensorrt"
_ONE_THREAD = 1


def open_engine(config: Config, bundle: ModelBundle) -> SegmentationEngine:
    """Return the engine that `config` asks for.

    Where TensorRT would be it, works here and only lacks its plan, another engine serves while
    the plan is built, unless `tensorrt_build` is `never`.

    Raises:
        EngineUnavailableError: It cannot run here.
        BundleError: The bundle does not hold what it needs.
    """
    options = EngineOptions(config.threads, config.precision, config.device)
    if _may_build(config) and only_lacks_plan(bundle, options):
        first = create_engine(AUTO, bundle, threads=config.threads)
        _LOG.warning("building a TensorRT plan, %s serves meanwhile", first.name)
        return DeferredEngine(first, _maker(bundle, options), what=TENSORRT)
    return create_engine(
        config.engine,
        bundle,
        threads=config.threads,
        precision=config.precision,
        device=config.device,
    )


def open_encoder(config: Config, bundle: ModelBundle) -> ImageEncoder:
    """Return the navigator's encoder that `config` asks for; `auto` builds no plan.

    Raises:
        EngineUnavailableError: TensorRT was asked for and cannot run here.
        BundleError: No navigator, or a graph of another interface.
    """
    if config.navigator_engine != "onnx":
        options = EngineOptions(threads=_ONE_THREAD)
        try:
            run = TensorRtRunner.open(bundle, options=options)
        except EngineUnavailableError as error:
            if config.navigator_engine == TENSORRT:
                raise
            _LOG.info("navigator: onnx, not %s", error)
        else:
            return RunnerImageEncoder(bundle, run)
    return OnnxImageEncoder(bundle, threads=_ONE_THREAD)


def _may_build(config: Config) -> bool:
    return (
        config.engine in (AUTO, TENSORRT)
        and config.tensorrt_build == "background"
        and config.adaptation == "background"
    )


def _maker(bundle: ModelBundle, options: EngineOptions) -> Callable[[Tell], SegmentationEngine]:
    def make(tell: Tell) -> SegmentationEngine:
        settings = TensorRtSettings(build=True, progress=tell)
        return TensorRtEngine.open(bundle, options=options, settings=settings)

    return make
