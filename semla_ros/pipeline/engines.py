"""Which engine segments and which one embeds; a missing plan is built behind the scenes.

What there is for TensorRT is imported only where TensorRT is installed and may be used.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import replace
from functools import partial

from semla_ros.bundle import ModelBundle
from semla_ros.core.config import Config
from semla_ros.core.errors import EngineUnavailableError, PlanMissingError
from semla_ros.engine import EngineOptions, create_engine, require_tensorrt
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.deferred import DeferredEngine, Tell
from semla_ros.engine.openvino_runner import OpenVinoRunner
from semla_ros.engine.openvino_text import OpenVinoTextTower
from semla_ros.engine.options import BF16
from semla_ros.engine.text import TextTower
from semla_ros.navigator.encoder import ImageEncoder, OnnxImageEncoder, Run, RunnerImageEncoder

_LOG = logging.getLogger(__name__)

AUTO, OPENVINO, TENSORRT = "auto", "openvino", "tensorrt"
_ONE_THREAD = 1


def open_engine(config: Config, bundle: ModelBundle) -> SegmentationEngine:
    """Return the engine that `config` asks for.

    Where TensorRT is asked for and only lacks its plan, another engine serves while the plan is
    built, unless `tensorrt_build` is `never`; `auto` builds none.

    Raises:
        EngineUnavailableError: It cannot run here.
        BundleError: The bundle does not hold what it needs.
    """
    options = EngineOptions(config.threads, config.precision, config.device)
    try:
        return create_engine(
            config.engine,
            bundle,
            threads=config.threads,
            precision=config.precision,
            device=config.device,
        )
    except PlanMissingError:
        if not _may_build(config):
            raise
    first = create_engine(AUTO, bundle, threads=config.threads)
    _LOG.warning("building a TensorRT plan, %s serves meanwhile", first.name)
    return _deferred(first, bundle, options)


def open_encoder(config: Config, bundle: ModelBundle) -> ImageEncoder:
    """Return the navigator's encoder that `config` asks for; no plan is built here.

    As among the segmenter's engines, `auto` takes OpenVINO only where the CPU has bfloat16.

    Raises:
        EngineUnavailableError: TensorRT or OpenVINO was asked for and cannot run here.
        BundleError: No navigator, or a graph of another interface.
    """
    asked, options = config.navigator_engine, EngineOptions(threads=_ONE_THREAD)
    if asked == TENSORRT:
        return RunnerImageEncoder(bundle, _tensorrt_runner(bundle))
    if asked == OPENVINO:
        return RunnerImageEncoder(bundle, OpenVinoRunner(bundle, options=options))
    if asked == AUTO and bundle.manifest.navigator is not None:
        in_bf16 = replace(options, precision=BF16)
        for opener in (_tensorrt_runner, partial(OpenVinoRunner, options=in_bf16)):
            try:
                return RunnerImageEncoder(bundle, opener(bundle))
            except EngineUnavailableError as error:
                _LOG.info("navigator: not %s", error)
        _LOG.info("navigator: onnx")
    return OnnxImageEncoder(bundle, threads=_ONE_THREAD)


def open_text_tower(config: Config, bundle: ModelBundle) -> TextTower | None:
    """Return what runs the text graph: OpenVINO by the navigator's rule, None: ONNX Runtime.

    Raises:
        EngineUnavailableError: OpenVINO was asked for and cannot run here.
    """
    options = EngineOptions(threads=_ONE_THREAD)
    if config.navigator_engine == OPENVINO:
        return OpenVinoTextTower(bundle, options=options)
    if config.navigator_engine == AUTO:
        try:
            return OpenVinoTextTower(bundle, options=replace(options, precision=BF16))
        except EngineUnavailableError as error:
            _LOG.debug("text tower: not %s", error)
    return None


def _may_build(config: Config) -> bool:
    return (
        config.tensorrt_build == "background"
        and config.adaptation == "background"
        and importlib.util.find_spec("onnx") is not None
    )


def _deferred(
    first: SegmentationEngine, bundle: ModelBundle, options: EngineOptions
) -> DeferredEngine:
    from semla_ros.engine.tensorrt.engine import TensorRtEngine

    def make(tell: Tell) -> SegmentationEngine:
        return TensorRtEngine.open(bundle, options=options, build=True, tell=tell)

    return DeferredEngine(first, make, what=TENSORRT)


def _tensorrt_runner(bundle: ModelBundle) -> Run:
    require_tensorrt()
    from semla_ros.engine.tensorrt.runner import TensorRtRunner

    return TensorRtRunner.open(bundle)
