"""`semla segment`: single images through a bundle, without a stream."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from semla_ros.bundle import open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.config import Config
from semla_ros.core.engines import F32
from semla_ros.core.errors import ConfigError, EvaluationError
from semla_ros.core.executors import use_one_blas_thread
from semla_ros.core.files.checks import MAX_NAME_BYTES
from semla_ros.core.files.image_file import read_image
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import BASE, AdapterMix, DomainEstimate, Float32Array, UInt8Array
from semla_ros.data.labels.class_lists import read_classes
from semla_ros.engine import create_engine
from semla_ros.engine.closed_text import open_text
from semla_ros.engine.text import TextFeatures
from semla_ros.evaluation.frozen_text import FirstMixText
from semla_ros.evaluation.mixes import mix_of
from semla_ros.evaluation.segment_files import SegmentedImage, write_results
from semla_ros.evaluation.windows import (
    WindowedLabels,
    padded_window,
    single_window,
    sliding_window,
)
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import retrieve
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.navigator.navigator import Navigator
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.pipeline.weight_set import make_weight_set

AUTO = "auto"
SINGLE, SLIDING, PADDED = "single", "sliding", "padded"
WINDOWS = (SINGLE, SLIDING, PADDED)


LONGEST_ENDING = "_overlay.png"
"""Of the files written for one image."""


@dataclass(frozen=True, slots=True)
class SegmentRequest:
    """What to segment, and how.

    Attributes:
        bundle: The model bundle's folder.
        images: PNG or JPEG files.
        out: Folder for the results; made if missing.
        mix: `auto`, `none`, `oracle:NAME`, `uniform` or `name=w,…`.
        engine: See `create_engine`.
        window: `single`, `sliding`, or `padded`, see `padded_window`.
        classes: See `read_classes`; None: the bundle's.
        save_logits: Write `<stem>.npz` as well.
        paper_compat_text_cache: Keep the text features of the first image's mix for all images,
            as the official evaluation does, see `FirstMixText`.
        config: Retrieval settings, threads, precision and image bounds; by default float32.
    """

    bundle: Path
    images: Sequence[Path]
    out: Path
    mix: str = AUTO
    engine: str = "auto"
    window: str = SINGLE
    classes: str | None = None
    save_logits: bool = False
    paper_compat_text_cache: bool = False
    config: Config = field(default_factory=lambda: Config(precision=F32))

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise ConfigError(f"expected a window of {WINDOWS!r}, got {self.window!r}")
        stems = [image.stem for image in self.images]
        repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
        if repeated:
            raise ConfigError(
                f"expected images of distinct names, got {repeated!r} more than once: their "
                "results would overwrite each other"
            )
        long = [stem for stem in stems if len(os.fsencode(stem + LONGEST_ENDING)) > MAX_NAME_BYTES]
        if long:
            raise ConfigError(
                f"expected images whose names leave room for {LONGEST_ENDING!r} in "
                f"{MAX_NAME_BYTES} bytes, got {long[0]!r}: rename it"
            )


def segment_images(request: SegmentRequest) -> tuple[Path, ...]:
    """Return the files written: labels, overlay and facts of each image.

    `<stem>_labels.png` holds class ids at the image's size, `<stem>_overlay.png` the classes in
    colour over the image, `<stem>.json` mix, support and timings; with `save_logits`
    `<stem>.npz` holds `logits` (T, h, w) before the sigmoid ((5, T, h, w) with sliding windows,
    the global view last) and `text_features` (T, D).

    Raises:
        SemlaError: Bundle, mix, classes or an image cannot be used.
    """
    written: list[Path] = []
    with ExitStack() as stack:
        segmenter = Segmenter(request)
        stack.callback(segmenter.engine.close)
        try:
            request.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvaluationError(f"cannot write to {str(request.out)!r}: {error}") from error
        for path in tqdm(request.images, unit="image", disable=None, leave=False):
            rgb = read_image(
                path,
                max_pixels=request.config.max_pixels,
                significant_bits=request.config.significant_bits,
            )
            facts = {
                "image": path.name,
                "size": list(rgb.shape[:2]),
                "engine": segmenter.engine.facts.name,
                "precision": segmenter.engine.facts.precision,
                "engine_reason": segmenter.engine.facts.reason,
                "window": request.window,
                "mix_requested": request.mix,
                "paper_compat_text_cache": request.paper_compat_text_cache,
            }
            written += write_results(
                request.out,
                path.stem,
                rgb,
                segmenter.segment(rgb),
                facts=facts,
                save_logits=request.save_logits,
            )
    return tuple(written)


class Segmenter:
    """A bundle opened for single images; weights are kept while the mix stays the same."""

    def __init__(self, request: SegmentRequest) -> None:
        """Open everything that `request` needs of its bundle.

        Raises:
            SemlaError: Bundle, mix or classes cannot be used.
        """
        self._request, config = request, request.config
        self._bundle = bundle = open_bundle(request.bundle)
        self._library = AdapterLibrary.of(bundle)
        manifest = bundle.manifest
        if request.mix == AUTO and manifest.navigator is None:
            raise ConfigError(
                f"bundle {manifest.name!r} has no navigator: give --mix none, uniform, "
                "oracle:NAME or name=weight,…"
            )
        self._fixed = None if request.mix == AUTO else mix_of(request.mix, self._library.names)
        named = request.classes
        self._vocabulary = read_classes(named) if named else manifest.vocabulary
        use_one_blas_thread()
        self._base = BaseWeights.open(bundle)
        text = open_text(bundle, threads=config.threads)
        self._text: TextFeatures = FirstMixText(text) if request.paper_compat_text_cache else text
        self._settings = LiveSettings.of(config, manifest.defaults)
        self._navigator = self._open_navigator()
        self._features: Float32Array | None = None
        self._active: AdapterMix | None = None
        self.engine = create_engine(
            request.engine,
            bundle,
            threads=config.threads,
            precision=config.precision,
            device=config.device,
        )

    def segment(self, rgb: UInt8Array) -> SegmentedImage:
        """Return the answer for one image (H, W, 3).

        Raises:
            SemlaError: It cannot be segmented.
        """
        timer = StageTimer()
        with timer.stage("embed"):
            estimate = self._estimate(rgb)
        mix = self._fixed or self._retrieved(estimate)
        features, settings = self._activate(mix, timer), self._settings
        support = None
        if estimate is not None:
            support = settings.support(estimate, mix, novelty=settings.novelty(estimate))
        with timer.stage("infer"):
            result = self._infer(rgb)
        return SegmentedImage(
            result=result,
            mix=mix,
            text_features=features,
            vocabulary=self._vocabulary,
            support=support,
            estimate=estimate,
            timings_ms=timer.durations_ms,
        )

    def _infer(self, rgb: UInt8Array) -> WindowedLabels:
        window, crop = self._request.window, self._bundle.manifest.segmentation.crop
        if window == SLIDING:
            return sliding_window(self.engine, rgb, crop=crop)
        if window == PADDED:
            return padded_window(self.engine, rgb, multiple=crop)
        return single_window(self.engine, rgb)

    def _open_navigator(self) -> Navigator | None:
        if self._bundle.manifest.navigator is None or not self._library.names:
            return None
        encoder = OnnxImageEncoder(self._bundle, threads=self._request.config.threads)
        distance = self._settings.distance
        bank = bank_of(self._library, distance=distance)
        return Navigator(encoder, bank, distance=distance, time_constant_s=0.0, max_gap_s=1.0)

    def _estimate(self, rgb: UInt8Array) -> DomainEstimate | None:
        """Return where the image is; every image stands alone."""
        navigator = self._navigator
        if navigator is None:
            return None
        navigator.reset()
        return navigator.update(0, navigator.encoder.encode(rgb))

    def _retrieved(self, estimate: DomainEstimate | None) -> AdapterMix:
        if estimate is None:
            return AdapterMix.base_only()
        return retrieve(estimate.names, estimate.distances, settings=self._settings.retrieval)

    def _activate(self, mix: AdapterMix, timer: StageTimer) -> Float32Array:
        """Return the text features of `mix`, which serves from now on."""
        if self._features is not None and mix == self._active:
            return self._features
        with timer.stage("fuse"):
            weight_set = make_weight_set(
                mix,
                [self._library.get(name) for name in mix.names if name != BASE],
                base=self._base,
                text=self._text,
                vocabulary=self._vocabulary,
                image_layers=self.engine.facts.layers,
            )
        with timer.stage("load"):
            self.engine.prepare(weight_set)
            self.engine.commit()
        self._features, self._active = weight_set.text_features, mix
        return weight_set.text_features
