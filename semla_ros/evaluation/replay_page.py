"""The page of one replay, from its result and its film."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath

from semla_ros.core.answers import SwapEvent, known
from semla_ros.core.types import UInt8Array, Vocabulary
from semla_ros.evaluation.film import FILM_ROWS, Moment, film_frames, mix_text
from semla_ros.evaluation.page import (
    Headline,
    class_legend,
    columns,
    film,
    headlines,
    note,
    page,
    picture,
    picture_of,
    section,
    table,
    table_section,
    warning,
)
from semla_ros.evaluation.result import ReplayResult
from semla_ros.evaluation.table import Cell, table_of
from semla_ros.evaluation.timeline import course_of, timeline


def replay_page(
    result: ReplayResult,
    *,
    moments: Sequence[Moment] = (),
    strip: UInt8Array | None = None,
    vocabulary: Vocabulary | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        result: The replay.
        moments: Its film; without them the page has no pictures.
        strip: Film strip (h, w, 3) RGB.
        vocabulary: Names and colours of the mask's classes, for the legend.
    """
    info = result.info
    sections = [_film(result, moments, strip, vocabulary)] if moments else []
    if result.frames:
        frames = [(f.stamp_ns, f.mix, f.support) for f in result.frames]
        course = course_of(*zip(*frames, strict=True))
        drawing = timeline(course, swaps=result.swaps, support_low=info.support_low)
        about = (
            "Which adapters made the masks, how well the library covers the scene, and when the "
            "active mix was swapped (numbered)."
        )
        sections.append(section("Adapters and support over time", drawing, note=about))
        sections.append(_swaps(result))
        sections.append(columns(_latency(result), _mix(result)))
    if result.skipped:
        sections.append(section("Skipped frames", _skipped(result)))
    sections.append(section("How this was made", _origin(result)))
    top = headlines(_headlines(result)) + "".join(
        warning(line) for line in (*_early(result), *result.notes)
    )
    subtitle = (
        f"{info.source}, topic {info.topic or '(none)'}, "
        f"segmented with {info.bundle} on the {info.engine} engine."
    )
    title = f"Replay of {PurePath(info.source).name}"
    return page(title, subtitle, sections, top=top, footer=_versions(result))


def _film(
    result: ReplayResult,
    moments: Sequence[Moment],
    strip: UInt8Array | None,
    vocabulary: Vocabulary | None,
) -> str:
    start = result.frames[0].stamp_ns if result.frames else 0
    body = film(film_frames(moments, start_ns=start), FILM_ROWS)
    if vocabulary is not None:
        body += class_legend(vocabulary)
    if strip is not None and len(moments) > 1:
        body += picture(picture_of(strip, ".jpg"), alt="Film strip of the drive")
    return section("What the camera saw", body)


def _early(result: ReplayResult) -> tuple[str, ...]:
    return (f"The replay ended early: {result.ended_early}",) if result.ended_early else ()


def _headlines(result: ReplayResult) -> list[Headline]:
    summary = result.summary()
    frames, latency = summary["frames"], summary["latency_ms"].get("step", {})
    levels = summary["support"]["levels"]
    items = [
        Headline(
            str(frames["segmented"]),
            "frames segmented",
            f"{frames['skipped']} skipped of {frames['read']} read",
        ),
        Headline(
            str(summary["swaps"]["committed"]),
            "adapter swaps",
            f"{summary['swaps']['failed']} failed",
        ),
    ]
    if latency:
        detail = f"p95 {latency['p95']:.0f} ms, p99 {latency['p99']:.0f} ms"
        items.append(Headline(f"{latency['p50']:.0f} ms", "per frame, median", detail))
    if levels:
        covered = levels.get("OK", 0) / sum(levels.values())
        lowest = summary["support"]["lowest"]
        detail = "support was never known" if lowest is None else f"lowest support {lowest:.2f}"
        items.append(
            Headline(
                f"{100 * covered:.0f} %",
                "of frames covered by the library",
                detail,
            )
        )
    lower = [s.miou_lower for f in result.frames if (s := known(f.support))]
    promised = sorted(v for v in lower if math.isfinite(v))
    if promised:
        items.append(
            Headline(
                f"{100 * promised[len(promised) // 2]:.0f} %",
                "mIoU promised, median",
                f"at least, by the bundle's calibration; lowest {100 * promised[0]:.0f} %",
            )
        )
    return items


def _swaps(result: ReplayResult) -> str:
    if not result.swaps:
        return section("Swaps", note("The active mix never changed."))
    start = result.frames[0].stamp_ns
    found = table_of(
        "Swaps",
        enumerate(result.swaps, start=1),
        {
            "#": lambda s: s[0],
            "at s": lambda s: (s[1].stamp_ns - start) * 1e-9,
            "from": lambda s: mix_text(s[1].from_mix),
            "to": lambda s: mix_text(s[1].to_mix),
            "reason": lambda s: (
                s[1].reason + ("" if s[1].committed else f", failed: {s[1].error}")
            ),
            "detection ms": lambda s: s[1].detection_ms,
            "fuse ms": lambda s: s[1].fuse_ms,
            "load ms": lambda s: s[1].load_ms,
            "stall ms": lambda s: s[1].stall_ms,
        },
    )
    return table_section(found, sortable=False)


def _reason(swap: SwapEvent) -> str:
    return swap.reason if swap.committed else f"{swap.reason}, failed: {swap.error}"


def _latency(result: ReplayResult) -> str:
    rows: list[list[Cell]] = [
        [
            "whole step" if stage == "step" else stage,
            *(values[k] for k in ("p50", "p95", "p99", "max")),
        ]
        for stage, values in result.latency_ms().items()
    ]
    body = table(("stage", "p50 ms", "p95 ms", "p99 ms", "max ms"), rows)
    about = "Computation only; in a replay adaptation runs inside the step."
    return section("Latency", body, note=about)


def _mix(result: ReplayResult) -> str:
    words = {n: f"{n} (made from words)" for n in result.info.generated}
    rows: list[list[Cell]] = [[words.get(n, n), 100.0 * w] for n, w in result.mean_mix().items()]
    levels = result.levels()
    total = sum(levels.values())
    body = table(("adapter", "mean weight %"), rows, sortable=True)
    if levels:
        shares: list[list[Cell]] = [
            [level.replace("_", " ").lower(), count, 100.0 * count / total]
            for level, count in levels.items()
        ]
        body += table(("support level", "frames", "%"), shares)
    return section("Adapters and support in numbers", body)


def _skipped(result: ReplayResult) -> str:
    why = result.summary()["skipped_why"]
    return table(("reason", "frames"), [[reason, count] for reason, count in why.items()])


def _origin(result: ReplayResult) -> str:
    info = result.info
    rows: list[list[Cell]] = [
        ["recording", info.source],
        ["topic", info.topic],
        ["bundle", info.bundle],
        ["engine", f"{info.engine} ({info.engine_reason})" if info.engine_reason else info.engine],
        ["classes", ", ".join(info.classes)],
        ["parameters", ", ".join(f"{k} = {v}" for k, v in info.parameters.items()) or "defaults"],
        ["sensor time", f"{result.duration_s:.1f} s"],
        ["digest of all decisions and masks", result.digest()],
    ]
    return table(("", ""), rows)


def _versions(result: ReplayResult) -> str:
    return ", ".join(f"{name} {version}" for name, version in result.info.versions.items())
