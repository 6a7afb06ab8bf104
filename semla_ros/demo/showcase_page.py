"""The demo's page: film, timeline, what adaptation was worth, how fast it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.demo.footage import Answers, Footage
from semla_ros.demo.score import DriveScore
from semla_ros.demo.world import CLASSES
from semla_ros.evaluation.bars import BarRow, grouped_bars
from semla_ros.evaluation.film import FILM_ROWS, FilmSink, film_frames
from semla_ros.evaluation.page import (
    Headline,
    class_legend,
    film,
    headlines,
    page,
    section,
    table,
)
from semla_ros.evaluation.replay import FrameView
from semla_ros.evaluation.table import shown
from semla_ros.evaluation.timeline import Course, course_of, timeline

FILM_MOMENTS = 96


def showcase_page(
    footage: Footage, answers: Answers, score: DriveScore, summary: Mapping[str, Any]
) -> str:
    """Return the page as HTML."""
    vocabulary = vocabulary_of(CLASSES)
    domain_of = footage.domain_of
    sink = FilmSink(FILM_MOMENTS)
    for frame in footage.frames:
        if frame.stamp_ns in answers.by_stamp:
            sink.add(FrameView(frame, answers.by_stamp[frame.stamp_ns].result))
    frames = film_frames(
        sink.moments,
        start_ns=footage.frames[0].stamp_ns,
        captions=[domain_of[m.stamp_ns] for m in sink.moments],
    )
    sections = (
        section(
            "The drive",
            film(frames, FILM_ROWS) + class_legend(vocabulary),
            note="What the camera saw, the mask that the node published for that very image, and "
            "both together. The drive is rendered; truth is exact.",
        ),
        section(
            "What it adapted to",
            timeline(drive_course(footage, answers), swaps=answers.swaps),
            note="Share of each adapter in the active mix, the support score, and every swap.",
        ),
        section(
            "What adaptation was worth",
            _gain(score) + _gain_table(score),
            note="mIoU from one confusion matrix a domain on the same frames. Without: the base "
            "network, trained on clear days alone. With: the masks as published live.",
        ),
        section("How fast it was", _speed(score, answers)),
    )
    return page(
        "A drive through changing weather",
        "A camera stream in, adapted masks and a support score out, over ROS 2 topics.",
        sections,
        top=headlines(_headlines(answers, score)),
        footer="; ".join(f"{k} {v}" for k, v in summary["versions"].items()),
    )


def _headlines(answers: Answers, score: DriveScore) -> list[Headline]:
    committed = sum(s.committed for s in answers.swaps)
    stall = max((s.stall_ms for s in answers.swaps if s.committed), default=0.0)
    return [
        Headline(f"{shown(score.adapted, 1)} %", "mIoU with adaptation", "h-mean over weather"),
        Headline(f"{shown(score.without, 1)} %", "mIoU without", "the base network alone"),
        Headline(str(committed), "adapter swaps", f"longest stall {stall:.2f} ms"),
        Headline(str(score.sent - score.received), "frames lost", f"of {score.sent} sent"),
        Headline(
            f"{score.latency_ms['p50']:.0f} ms",
            "image to mask (p50)",
            f"p99 {score.latency_ms['p99']:.0f} ms",
        ),
    ]


def _gain(score: DriveScore) -> str:
    rows = [BarRow(name, (d.without, d.adapted)) for name, d in score.domains.items()]
    rows.append(BarRow("h-mean", (score.without, score.adapted)))
    return grouped_bars(rows, ("without", "with adaptation"), unit=" %", difference=True)


def _gain_table(score: DriveScore) -> str:
    rows: list[list[str | int | float | None]] = [
        [name, d.frames, d.without, d.adapted, d.support] for name, d in score.domains.items()
    ]
    frames = sum(d.frames for d in score.domains.values())
    rows.append(["h-mean", frames, score.without, score.adapted, None])
    header = ("domain", "frames", "without, %", "with, %", "mean support")
    return table(header, rows, digits=2, total=True)


def _speed(score: DriveScore, answers: Answers) -> str:
    latency = table(
        ("from image to mask, at the recorder", "ms"),
        [[name, value] for name, value in score.latency_ms.items()],
    )
    header = ("s", "to", "why", "detected after, ms", "fused, ms", "loaded, ms", "stall, ms")
    start = min(answers.by_stamp) if answers.by_stamp else 0
    rows: list[list[str | int | float | None]] = [
        [
            (s.stamp_ns - start) * 1e-9,
            s.to_mix.identity if s.committed else f"failed: {s.error}",
            s.reason,
            s.detection_ms,
            s.fuse_ms,
            s.load_ms,
            s.stall_ms,
        ]
        for s in answers.swaps
    ]
    return latency + table(header, rows, digits=2, sortable=True)


def drive_course(footage: Footage, answers: Answers) -> Course:
    """Return the course of what the node answered."""
    domain_of = footage.domain_of
    stamps = sorted(answers.by_stamp)
    results = [answers.by_stamp[stamp].result for stamp in stamps]
    return course_of(
        stamps,
        [r.mix for r in results],
        [r.support for r in results],
        domains=[domain_of[stamp] for stamp in stamps],
    )
