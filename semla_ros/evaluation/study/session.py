"""A bundle opened once, for the evaluation of any number of recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, file_sha256
from semla_ros.core.answers import Prediction
from semla_ros.core.config import PARAMETERS, Config, updated
from semla_ros.core.errors import ConfigError, EngineError
from semla_ros.core.types import AdapterMix, Float32Array, UInt8Array
from semla_ros.data.labels.label_map import LabelMap
from semla_ros.data.labels.source import DEFAULT_TOLERANCE_NS
from semla_ros.data.metrics import Int64Array
from semla_ros.data.tasks import ReadSettings
from semla_ros.engine.postprocess import Labels, labels_from_scores, scores_from_logits
from semla_ros.evaluation.run import versions
from semla_ros.evaluation.study.gate import GateReplay, with_trigger
from semla_ros.evaluation.study.observation import Observation, score_frame
from semla_ros.evaluation.study.strategies import (
    DEFAULT_STRATEGIES,
    Strategy,
    check_leave_out,
    check_strategies,
    needs_navigator,
    strategy_of,
    trigger_of,
)
from semla_ros.evaluation.study.study import GATED_AT, StudyInfo
from semla_ros.evaluation.study.text_strategies import NO_WORDS, TEXT_STRATEGIES, words_of
from semla_ros.library.seal import SEAL_FILE
from semla_ros.navigator.distance import CentroidBank
from semla_ros.navigator.encoder import ImageEncoder
from semla_ros.pipeline import AdaptivePipeline, open_parts
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How recordings are evaluated; the same for all of a study.

    Attributes:
        bundle: The model bundle; None for the demo bundle.
        strategies: See `check_strategies`.
        label_map: How truth becomes classes.
        leave_out: See `left_out`.
        topic: Image topic of recordings; None for the only one.
        fps: Of folders and videos that know no time.
        tolerance_ns: How far truth may lie from its frame.
        excluded: Domains left out of the means over domains.
        changes: Parameters that differ from the default.
    """

    bundle: Path | None = None
    strategies: tuple[str, ...] = DEFAULT_STRATEGIES
    label_map: LabelMap = field(default_factory=LabelMap)
    leave_out: str = ""
    topic: str | None = None
    fps: float = 10.0
    tolerance_ns: int = DEFAULT_TOLERANCE_NS
    excluded: tuple[str, ...] = ()
    changes: Mapping[str, object] = field(default_factory=dict)

    def config(self) -> Config:
        """Return the configuration of every pipeline of the study.

        Raises:
            ConfigError: An unknown parameter, or a wrong value.
        """
        forced: dict[str, object] = {"adaptation": "inline", "output_size": "model"}
        if self.bundle is not None:
            forced["bundle"] = str(self.bundle)
        return updated(Config(), {**self.changes, **forced})

    @property
    def reading(self) -> ReadSettings:
        """How recordings are read."""
        config = self.config()
        return ReadSettings(
            label_map=self.label_map,
            topic=self.topic,
            fps=self.fps,
            tolerance_ns=self.tolerance_ns,
            max_pixels=config.max_pixels,
            significant_bits=config.significant_bits,
        )


class SharedEncoder:
    """Remembers the embeddings of the images at hand, by the array itself."""

    def __init__(self, encoder: ImageEncoder) -> None:
        """Remember nothing yet."""
        self.identity = encoder.identity
        self.dim = encoder.dim
        self._encoder = encoder
        self._known: dict[int, tuple[UInt8Array, Float32Array]] = {}

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return the embedding of `rgb`, computed at the first call with this array."""
        if id(rgb) not in self._known:
            self._known[id(rgb)] = (rgb, self._encoder.encode(rgb))
        return self._known[id(rgb)][1]

    def forget(self) -> None:
        """Let go of the images."""
        self._known.clear()


class Session:
    """The opened parts, and what explicit strategies need of them: serve a mix, segment."""

    def __init__(self, settings: StudySettings) -> None:
        """Open the bundle.

        Raises:
            SemlaError: Bundle, strategies or parameters cannot be used.
        """
        self.settings = settings
        self.config = settings.config()
        encoders: list[SharedEncoder] = []

        def shared(encoder: ImageEncoder) -> SharedEncoder:
            encoders.append(SharedEncoder(encoder))
            return encoders[0]

        self.parts = open_parts(self.config, with_encoder=shared)
        self.encoder = encoders[0] if encoders else None
        bundle, library = self.parts.bundle, self.parts.library
        self.live = LiveSettings.of(self.config, bundle.manifest.defaults)
        self.names = library.names
        self.bank: CentroidBank = bank_of(library, distance=self.live.distance)
        self.strategies = check_strategies(settings.strategies, self.names)
        needy = [s for s in self.strategies if needs_navigator(s)]
        if needy and self.encoder is None:
            raise ConfigError(
                f"strategies {needy!r} need a navigator, bundle {bundle.manifest.name!r} has "
                "none: leave them out"
            )
        texts = bool(set(self.strategies).intersection(TEXT_STRATEGIES))
        self.words = words_of(bundle, library) if texts else NO_WORDS
        check_leave_out(settings.leave_out, self.names)
        self.classes = bundle.manifest.vocabulary.names
        self.sha256 = evaluated_sha256(bundle)

    def info(self) -> StudyInfo:
        """Return what the study says about itself."""
        manifest = self.parts.bundle.manifest
        parameters = {
            spec.name: getattr(self.config, spec.name)
            for spec in PARAMETERS.values()
            if spec.decides
        }
        retrieval = asdict(self.live.retrieval)
        del retrieval["exclude"]
        return StudyInfo(
            bundle=manifest.name,
            bundle_sha256=self.sha256,
            engine=self.parts.engine.facts.name,
            classes=self.classes,
            adapters=self.names,
            label_map=self.settings.label_map.name,
            strategies=self.strategies,
            parameters={**retrieval, "distance": self.live.distance, **parameters},
            versions=versions(),
            support_low=self.live.support_low,
            out_of_library=self.live.threshold(self.bank.alarm),
            excluded=self.settings.excluded,
            leave_out=self.settings.leave_out,
            colors=tuple((r, g, b) for r, g, b in manifest.vocabulary.colors.tolist()),
        )

    def pipeline(self) -> AdaptivePipeline:
        """Return a pipeline that has seen nothing and serves the base."""
        self.serve(AdapterMix.base_only(), 0)
        if self.parts.observer is not None:
            self.parts.observer.reset()
        return AdaptivePipeline(self.parts, self.config)

    def strategy(self, name: str) -> Strategy:
        """Return who decides for a strategy that is not the live pipeline, having seen nothing."""
        if name.startswith(GATED_AT):
            config = with_trigger(self.config, trigger_of(name))
            live = LiveSettings.of(config, self.parts.bundle.manifest.defaults)
            return GateReplay(self.parts.library, self.bank, live).choose
        return strategy_of(name, self.names, self.live.retrieval, self.bank, self.words)

    def serve(self, mix: AdapterMix, stamp_ns: int) -> None:
        """Make `mix` serve, by the swapper of the pipeline.

        Raises:
            EngineError: It cannot be prepared.
        """
        swapper = self.parts.swapper
        if swapper.active == mix:
            return
        swapper.request(mix, reason="pinned", stamp_ns=stamp_ns, proved=False)
        event = swapper.commit_ready(stamp_ns)
        if event is None or not event.committed:
            why = "nothing was prepared" if event is None else event.error
            raise EngineError(f"mix {mix.identity!r} cannot be served: {why}")

    def segment(self, rgb: UInt8Array) -> Prediction:
        """Return the mask of `rgb` with what serves."""
        return self.parts.engine.infer(rgb)

    def fused_late(self, seen: Observation, mix: AdapterMix) -> Labels:
        """Return the mask of the members' scores, averaged with the weights of `mix`.

        Each member serves alone; of its network the logits are taken.
        """
        scores = []
        for name, weight in zip(mix.names, mix.weights, strict=True):
            self.serve(AdapterMix((name,), (1.0,)), seen.stamp_ns)
            logits = self.parts.engine.logits(seen.frame.rgb)
            scores.append(np.float32(weight) * scores_from_logits(logits))
        return labels_from_scores(np.sum(scores, axis=0), self.parts.engine.facts.size)

    def counts(self, seen: Observation, mix: AdapterMix) -> Int64Array:
        """Return (3, T) counts of the mask that `mix` makes of a frame, see `frame_counts`."""
        self.serve(mix, seen.stamp_ns)
        made = self.segment(seen.frame.rgb)
        return score_frame(
            made.labels,
            made.confidence,
            size=seen.frame.rgb.shape[:2],
            truth=seen.truth,
            classes=len(self.classes),
        ).counts

    def forget(self) -> None:
        """Let go of the images whose embeddings are remembered."""
        if self.encoder is not None:
            self.encoder.forget()

    def close(self) -> None:
        """Release the engine."""
        self.parts.swapper.close()
        self.parts.engine.close()


def evaluated_sha256(bundle: ModelBundle) -> str:
    """Return a sha256 over everything of a bundle that decides a mask or an embedding.

    Sealed files, class list and adapters count; defaults and calibration do not, so a study can
    be continued after it has calibrated its bundle.
    """
    manifest = bundle.manifest
    digest = hashlib.sha256()
    parts = [f"{name}={sha}" for name, sha in sorted(manifest.files.items())]
    parts += [f"class={name}" for name in manifest.vocabulary.names]
    parts += [f"text={manifest.text}", f"segmentation={manifest.segmentation}"]
    for path in sorted(bundle.library.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name != SEAL_FILE:
            name = path.relative_to(bundle.library).as_posix()
            parts.append(f"{name}={file_sha256(path)}")
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()
