"""The answer for one image that stands alone, and the files that `semla segment` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.core.answers import SupportReading
from semla_ros.core.files.npz_file import npz_content
from semla_ros.core.shown import utf8
from semla_ros.core.types import AdapterMix, DomainEstimate, Float32Array, UInt8Array, Vocabulary
from semla_ros.core.viz.overlay import lut_of, overlay
from semla_ros.data.bags.messages import encoded
from semla_ros.evaluation.files import json_text, write_file
from semla_ros.evaluation.windows import WindowedLabels

_ALPHA = 0.5


@dataclass(frozen=True, slots=True)
class SegmentedImage:
    """One image's answer.

    Attributes:
        result: Labels and logits.
        mix: What served.
        text_features: (T, D).
        vocabulary: The T classes.
        support: None without a navigator.
        estimate: None without a navigator.
        timings_ms: Stage -> duration.
    """

    result: WindowedLabels
    mix: AdapterMix
    text_features: Float32Array
    vocabulary: Vocabulary
    support: SupportReading | None
    estimate: DomainEstimate | None
    timings_ms: Mapping[str, float]


def write_results(
    out: Path,
    stem: str,
    rgb: UInt8Array,
    image: SegmentedImage,
    *,
    facts: Mapping[str, Any],
    save_logits: bool,
) -> list[Path]:
    """Return the files written for one image, each in one step.

    Args:
        out: An existing folder.
        stem: What their names begin with.
        rgb: The image.
        image: The answer.
        facts: Goes into the JSON file beside what `image` says.
        save_logits: Write the `.npz` as well.

    Raises:
        EvaluationError: A file cannot be written.
    """
    labels = image.result.labels.labels
    drawn = overlay(rgb, labels, lut_of(image.vocabulary), alpha=_ALPHA)
    contents = {
        f"{stem}_labels.png": encoded(labels, ".png").tobytes(),
        f"{stem}_overlay.png": encoded(drawn[..., ::-1], ".png").tobytes(),
        f"{stem}.json": utf8(json_text({**facts, **_answer(image)})),
    }
    if save_logits:
        arrays = {"logits": image.result.logits, "text_features": image.text_features}
        contents[f"{stem}.npz"] = npz_content(arrays)
    return [write_file(out / n, data) for n, data in contents.items()]


def _answer(image: SegmentedImage) -> dict[str, Any]:
    distances = reading = None
    if image.estimate is not None:
        pairs = zip(image.estimate.names, image.estimate.distances, strict=True)
        distances = {name: float(distance) for name, distance in pairs}
    if image.support is not None:
        shown = ("score", "level", "nearest", "nearest_distance")
        reading = {name: getattr(image.support, name) for name in shown}
    return {
        "classes": list(image.vocabulary.names),
        "mix": image.mix,
        "support": reading,
        "distances": distances,
        "timings_ms": {stage: round(ms, 3) for stage, ms in image.timings_ms.items()},
    }
