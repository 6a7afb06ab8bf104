"""Which engine segments and which one embeds; a missing plan is built behind the scenes.

What there is for TensorRT and OpenVINO is imported only where it is installed and may be used.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from functools import partial

from semla_ros.bundle import ModelBundle
from semla_ros.core.config import Config
from semla_ros.core.engines import AUTO, BF16
from semla_ros.core.errors import EngineUnavailableError, PlanMissingError
from semla_ros.engine import EngineOptions, create_engine, require_package
from semla_ros.engine.contract import SegmentationEngine, Tell
from semla_ros.engine.embedding_proof import BOUNDS
from semla_ros.engine.golden import relative_error
from semla_ros.engine.proof import golden_image
from semla_ros.engine.text import TextTower
from semla_ros.navigator.encoder import ImageEncoder, OnnxImageEncoder, Run, RunnerImageEncoder

_LOG = logging.getLogger(__name__)

OPENVINO, TENSORRT = "openvino", "tensorrt"
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
    _LOG.warning("building a TensorRT plan, %s serves meanwhile", first.facts.name)
    return _deferred(first, bundle, options)


def open_encoder(config: Config, bundle: ModelBundle) -> ImageEncoder:
    """Return the navigator's encoder that `config` asks for; no plan is built here.

    As among the segmenter's engines, `auto` takes OpenVINO only where the CPU has bfloat16.

    Raises:
        EngineUnavailableError: TensorRT or OpenVINO was asked for and cannot run here.
        BundleError: No navigator, or a graph of another interface.
    """
    asked = config.navigator_engine
    if asked in _RUNNERS:
        return RunnerImageEncoder(bundle, _RUNNERS[asked](bundle))
    if asked == AUTO and bundle.manifest.navigator is not None:
        for opener in (_tensorrt_runner, partial(_openvino_runner, precision=BF16)):
            try:
                return RunnerImageEncoder(bundle, opener(bundle))
            except EngineUnavailableError as error:
                _LOG.info("navigator: not %s", error)
        _LOG.info("navigator: onnx")
    return OnnxImageEncoder(bundle, threads=_ONE_THREAD)


def open_text_tower(config: Config, bundle: ModelBundle) -> TextTower | None:
    """Return what runs the text graph: OpenVINO by the navigator's rule, None: ONNX Runtime.

    None, too, where there is no such graph.

    Raises:
        EngineUnavailableError: OpenVINO was asked for and cannot run here.
    """
    if bundle.manifest.text is None:
        return None
    if config.navigator_engine == OPENVINO:
        return _openvino_text(bundle, AUTO)
    if config.navigator_engine == AUTO:
        try:
            return _openvino_text(bundle, BF16)
        except EngineUnavailableError as error:
            _LOG.debug("text tower: not %s", error)
    return None


def shares_embedding(
    engine: SegmentationEngine, bundle: ModelBundle, encoder: ImageEncoder
) -> bool:
    """Return whether embeddings that come with masks of `engine` are those of `encoder`.

    They are held against each other on one image; else the navigator's own graph runs aside, as it
    does where the engine gives none.

    Args:
        engine: Serves something.
        bundle: Of both.
        encoder: The navigator's graph.
    """
    if not bundle.manifest.shared_dim:
        return False
    image = golden_image(engine.facts.size)
    shared = engine.infer(image).embedding
    if shared is None:
        _LOG.info("navigator: engine %s gives no embedding, it runs aside", engine.facts.name)
        return False
    error, bound = relative_error(shared, encoder.encode(image)), BOUNDS[engine.facts.precision]
    if not error <= bound:
        _LOG.warning(
            "navigator: engine %s in %s embeds with an error of %.2g, over %g: it runs aside",
            engine.facts.name,
            engine.facts.precision,
            error,
            bound,
        )
    return error <= bound


def _may_build(config: Config) -> bool:
    return (
        config.tensorrt_build == "background"
        and config.adaptation == "background"
        and importlib.util.find_spec("onnx") is not None
    )


def _deferred(
    first: SegmentationEngine, bundle: ModelBundle, options: EngineOptions
) -> SegmentationEngine:
    from semla_ros.engine.deferred import DeferredEngine
    from semla_ros.engine.tensorrt.engine import TensorRtEngine

    def make(tell: Tell) -> SegmentationEngine:
        return TensorRtEngine.open(bundle, options=options, build=True, tell=tell)

    return DeferredEngine(first, make, what=TENSORRT)


def _tensorrt_runner(bundle: ModelBundle) -> Run:
    require_package(TENSORRT)
    from semla_ros.engine.tensorrt.runner import TensorRtRunner

    return TensorRtRunner.open(bundle)


def _openvino_runner(bundle: ModelBundle, *, precision: str = AUTO) -> Run:
    require_package(OPENVINO)
    from semla_ros.engine.openvino_clip import OpenVinoRunner

    return OpenVinoRunner(bundle, options=EngineOptions(_ONE_THREAD, precision))


def _openvino_text(bundle: ModelBundle, precision: str) -> TextTower:
    require_package(OPENVINO)
    from semla_ros.engine.openvino_clip import OpenVinoTextTower

    return OpenVinoTextTower(bundle, options=EngineOptions(_ONE_THREAD, precision))


_RUNNERS: Mapping[str, Callable[[ModelBundle], Run]] = {
    TENSORRT: _tensorrt_runner,
    OPENVINO: _openvino_runner,
}
