"""One replay from request to files: pipeline, recording, results, pictures, page."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from semla_ros.core.config import Config, updated
from semla_ros.core.errors import EvaluationError
from semla_ros.core.installed import versions_of
from semla_ros.core.types import UInt8Array
from semla_ros.data.bags.hints import read_hints
from semla_ros.data.bags.reader import choose_topic, read_frames
from semla_ros.data.bags.writer import BagWriter
from semla_ros.evaluation.files import write_file
from semla_ros.evaluation.film import FilmSink, film_strip
from semla_ros.evaluation.page import write_page
from semla_ros.evaluation.replay import replay, with_hints
from semla_ros.evaluation.replay_page import replay_page
from semla_ros.evaluation.result import ReplayResult, RunInfo, save_result
from semla_ros.evaluation.sinks import FileSink, PredictionSink, VideoSink
from semla_ros.pipeline import AdaptivePipeline, build_pipeline

RESULTS, PAGE, STRIP = "results.json", "index.html", "strip.png"
VIDEO, PREDICTIONS = "overlay.mp4", "predictions.mcap"
_COMPONENTS = ("numpy", "opencv-python-headless", "onnxruntime", "openvino", "rosbags", "torch")


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What `semla replay` was asked for.

    Attributes:
        bag: The recording.
        out: Folder of the results, made where missing.
        bundle: Model bundle, None for the demo bundle.
        topic: Image topic, None for the only one.
        changes: Parameters that differ from the default.
        video: Write the overlay video.
    """

    bag: Path
    out: Path
    bundle: Path | None = None
    topic: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    video: bool = True


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """The result, the files that were written, and why others could not be."""

    result: ReplayResult
    files: tuple[Path, ...]
    failures: tuple[str, ...] = ()


def run_replay(request: ReplayRequest) -> ReplayOutcome:
    """Replay a recording and write `results.json`, `predictions.mcap`, pictures and the page.

    Raises:
        SemlaError: Bundle, recording or parameters are unusable, or `out` cannot be written.
    """
    changes = dict(request.changes) | {"adaptation": "inline"}
    if request.bundle is not None:
        changes["bundle"] = str(request.bundle)
    config = updated(Config(), changes)
    _make_folder(request.out)
    notes: list[str] = []
    topic = choose_topic(request.bag, request.topic, on_note=notes.append)
    film = FilmSink()
    with ExitStack() as stack:
        pipeline = stack.enter_context(build_pipeline(config))
        files = [stack.enter_context(each) for each in _file_sinks(request, pipeline)]
        frames = read_frames(
            request.bag,
            topic=topic.name,
            max_pixels=config.max_pixels,
            significant_bits=config.significant_bits,
            on_note=lambda text: None if text in notes else notes.append(text),
        )
        said = read_hints(request.bag)
        frames = with_hints(frames, said, pipeline, on_note=notes.append)
        bar = stack.enter_context(tqdm(total=topic.count, unit="frame", disable=None, leave=False))
        result = replay(
            pipeline,
            frames,
            info=_info(request, topic.name, pipeline),
            sinks=(film, *files),
            progress=lambda segmented, skipped: bar.update(segmented + skipped - bar.n),
            alpha=config.overlay_alpha,
        )
    failures = tuple(each.failure for each in files if each.failure)
    result = replace(result, notes=(*result.notes, *notes, *failures))
    save_result(result, request.out / RESULTS)
    failures += _write_pictures(request.out, result, film)
    written = (RESULTS, PAGE, STRIP, VIDEO, PREDICTIONS)
    paths = [request.out / name for name in written]
    return ReplayOutcome(result, tuple(p for p in paths if p.exists()), failures)


def _make_folder(out: Path) -> None:
    """Make `out` and take old results away, so that what lies there is of this run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (RESULTS, PAGE, STRIP, VIDEO, PREDICTIONS):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise EvaluationError(f"cannot write to {str(out)!r}: {error}") from error


def _file_sinks(request: ReplayRequest, pipeline: AdaptivePipeline) -> list[FileSink]:
    """Return the sinks with files; the video is closed first: a failed one gives back its room."""
    bag, video = BagWriter(request.out / PREDICTIONS), VideoSink(request.out / VIDEO)
    generated = pipeline.library.generated
    sinks = [FileSink(lambda s: PredictionSink(s.enter_context(bag), generated=generated))]
    if request.video:
        sinks.append(FileSink(lambda stack: stack.enter_context(video)))
    return sinks


def _info(request: ReplayRequest, topic: str, pipeline: AdaptivePipeline) -> RunInfo:
    config, manifest = pipeline.config, pipeline.bundle.manifest
    default = Config()
    changed = {
        f.name: getattr(config, f.name)
        for f in fields(config)
        if getattr(config, f.name) != getattr(default, f.name) and f.name != "bundle"
    }
    return RunInfo(
        source=str(request.bag),
        topic=topic,
        bundle=manifest.name,
        engine=pipeline.engine.facts.name,
        engine_reason=f"{pipeline.engine.facts.precision}, {pipeline.engine.facts.reason}",
        classes=pipeline.vocabulary.names,
        parameters=changed,
        versions=versions(),
        support_low=pipeline.adaptation.settings.support_low,
        generated=pipeline.library.generated,
    )


def versions() -> dict[str, str]:
    """Return component -> version of everything that can change a result, and the machine."""
    return versions_of(_COMPONENTS)


def _write_pictures(out: Path, result: ReplayResult, film: FilmSink) -> tuple[str, ...]:
    """Write film strip and page; return why one could not be: the numbers stay all the same."""
    strip: UInt8Array | None = None
    if film.moments and film.vocabulary is not None:
        strip = film_strip(film.moments, film.vocabulary)
    try:
        if strip is not None:
            write_image(out / STRIP, strip)
        page = replay_page(result, moments=film.moments, strip=strip, vocabulary=film.vocabulary)
        write_page(out / PAGE, page)
    except EvaluationError as error:
        return (str(error),)
    return ()


def write_image(path: Path, rgb: UInt8Array) -> None:
    """Write (H, W, 3) RGB as the kind of image that the file's ending names.

    Raises:
        EvaluationError: It cannot be written.
    """
    try:
        done, content = cv2.imencode(path.suffix, np.ascontiguousarray(rgb[..., ::-1]))
    except cv2.error as error:
        raise EvaluationError(f"cannot write {str(path)!r}: {error}") from error
    if not done:
        raise EvaluationError(f"expected an image that {path.suffix} can hold, got {rgb.shape}")
    write_file(path, content.tobytes())
