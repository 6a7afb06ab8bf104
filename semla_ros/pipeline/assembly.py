"""From a configuration to a running pipeline."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from semla_ros.bundle import MANIFEST, ModelBundle, open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.config import Config
from semla_ros.core.errors import BundleError
from semla_ros.core.executors import (
    BackgroundExecutor,
    InlineExecutor,
    end,
    use_one_blas_thread,
)
from semla_ros.core.shipped import places
from semla_ros.engine.closed_text import open_text
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.seal import ACCEPT
from semla_ros.navigator.encoder import ImageEncoder
from semla_ros.navigator.navigator import Navigator
from semla_ros.pipeline.adaptive import AdaptivePipeline
from semla_ros.pipeline.engines import (
    open_encoder,
    open_engine,
    open_text_tower,
    shares_embedding,
)
from semla_ros.pipeline.library_view import bank_of, check_excluded
from semla_ros.pipeline.observer import Observer
from semla_ros.pipeline.parts import PipelineParts
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.pipeline.swap import AdapterSwapper

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys

_LOG = logging.getLogger(__name__)

BUNDLE_VARIABLE = "SEMLA_BUNDLE"
_DEMO = "models/demo"
_ONE_THREAD = 1
_MIB = 2**20
_WARM_UP_FRAMES = 2
_PATIENCE_S = 5.0


def default_bundle() -> Path:
    """Return the folder of the bundle that comes with the package.

    The environment variable SEMLA_BUNDLE comes first, then what is shipped, see `shipped.places`.

    Raises:
        BundleError: There is none; the message names every place.
    """
    given = os.environ.get(BUNDLE_VARIABLE)
    if given:
        return Path(given)
    folders = [place / _DEMO for place in places()]
    for folder in folders:
        if (folder / MANIFEST).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in folders)
    raise BundleError(
        f"expected a model bundle, found none in {looked}: "
        f"set the parameter `bundle` or {BUNDLE_VARIABLE}"
    )


def build_pipeline(config: Config, *, library: Path | None = None) -> AdaptivePipeline:
    """Return a pipeline that serves the base weights with the bundle's classes, warmed up.

    Args:
        config: Everything that can be chosen.
        library: Adapter folder; by default the bundle's.

    Raises:
        SemlaError: Bundle, library or engine cannot be used as configured.
    """
    return AdaptivePipeline(open_parts(config, library=library), config)


def open_parts(
    config: Config,
    *,
    library: Path | None = None,
    with_encoder: Callable[[ImageEncoder], ImageEncoder] | None = None,
) -> PipelineParts:
    """Return what `build_pipeline` puts together, for pipelines that start anew on the same parts.

    Args:
        config: Everything that can be chosen.
        library: Adapter folder; by default the bundle's.
        with_encoder: Returns the encoder to use instead of the bundle's.

    Raises:
        SemlaError: Bundle, library or engine cannot be used as configured.
    """
    trusted = _trusted(config)
    folder = Path(config.bundle) if config.bundle else default_bundle()
    bundle = open_bundle(folder, trusted=trusted)
    if bundle.signer:
        _LOG.info("bundle %s is signed by %s", folder, bundle.signer)
    adapters = open_library(bundle, config, root=library)
    check_excluded(config.excluded, adapters)
    executors = _executors(config)
    try:
        return _parts(bundle, adapters, config, executors, with_encoder=with_encoder)
    except BaseException:
        for executor in executors:
            end(executor, within_s=_PATIENCE_S)
        raise


def _parts(
    bundle: ModelBundle,
    adapters: AdapterLibrary,
    config: Config,
    executors: tuple[Executor, ...],
    *,
    with_encoder: Callable[[ImageEncoder], ImageEncoder] | None,
) -> PipelineParts:
    """Return the parts on `executors`; whatever it raises, the engine is closed."""
    observer = _observer(
        bundle, adapters, config, executor=executors[-1], with_encoder=with_encoder
    )
    text = open_text(bundle, threads=_ONE_THREAD, tower=open_text_tower(config, bundle))
    engine = open_engine(config, bundle)
    try:
        swapper = AdapterSwapper(
            engine,
            adapters,
            BaseWeights.open(bundle),
            text,
            bundle.manifest.vocabulary,
            executors[0],
        )
        _warm_up(engine)
        encoder = observer.navigator.encoder if observer else None
        shares = encoder is not None and shares_embedding(engine, bundle, encoder)
    except BaseException:
        engine.close()
        raise
    return PipelineParts(
        bundle=bundle,
        engine=engine,
        swapper=swapper,
        library=adapters,
        observer=observer,
        executors=executors,
        shares_embedding=shares,
    )


def _trusted(config: Config) -> TrustedKeys | None:
    """Return whose signatures are asked for, None where none are."""
    if not config.trusted_keys:
        return None
    from semla_ros.core.files.signature import read_trusted_keys

    return read_trusted_keys(Path(config.trusted_keys))


def open_library(
    bundle: ModelBundle, config: Config, *, root: Path | None = None
) -> AdapterLibrary:
    """Return the adapters of which `config` lets some serve; `root` is another folder of them.

    Raises:
        LibraryError: It cannot be read.
    """
    root = root or bundle.library
    library = AdapterLibrary.of(
        bundle,
        root=root,
        memory_bytes=config.library_memory_mib * _MIB,
        unsealed=config.unsealed_adapters,
        use_generated=config.generated_adapters == ACCEPT,
        trusted=_trusted(config),
    )
    _LOG.info(
        "library %s: %d adapters, %d unusable", root, len(library.names), len(library.problems)
    )
    return library


def _executors(config: Config) -> tuple[Executor, ...]:
    """Return where swaps and navigator run, in this order.

    NumPy then uses no threads of its own, OpenCV as many as the engine: both start one for each
    core otherwise, which wakes them for every image and leaves nothing to the robot.
    """
    use_one_blas_thread()
    cv2.setNumThreads(cpu_threads(config.threads))
    if config.adaptation == "inline":
        return (InlineExecutor(),)
    return BackgroundExecutor("semla-swap"), BackgroundExecutor("semla-navigator")


def _observer(
    bundle: ModelBundle,
    library: AdapterLibrary,
    config: Config,
    *,
    executor: Executor,
    with_encoder: Callable[[ImageEncoder], ImageEncoder] | None,
) -> Observer | None:
    if bundle.manifest.navigator is None:
        _LOG.info("bundle %s has no navigator: explicit mixes only", bundle.manifest.name)
        return None
    settings = LiveSettings.of(config, bundle.manifest.defaults)
    encoder = open_encoder(config, bundle)
    navigator = Navigator(
        with_encoder(encoder) if with_encoder is not None else encoder,
        bank_of(library, distance=settings.distance),
        distance=settings.distance,
        time_constant_s=config.ema_time_s,
        max_gap_s=config.max_gap_s,
    )
    return Observer(navigator, executor)


def _warm_up(engine: SegmentationEngine) -> None:
    blank = np.zeros((*engine.facts.size, 3), np.uint8)
    for _ in range(_WARM_UP_FRAMES):
        engine.infer(blank)
