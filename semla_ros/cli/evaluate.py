"""`semla evaluate`: strategies side by side on recordings, against ground truth where there is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli.verb import EXIT_INTERRUPTED, Verb, changes, engine_arguments

if TYPE_CHECKING:
    from semla_ros.evaluation.study.run import StudyOutcome, StudyRequest
    from semla_ros.evaluation.study.study import Study

_STRATEGIES = "zero-shot,uniform,semla,semla-gated,oracle"


def _arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is evaluated, against which truth, and how."""
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="recording (rosbag2 folder, .mcap, .db3, .bag), folder of images, or video; "
        "NAME=INPUT names its domain",
    )
    add("--out", type=Path, required=True, help="folder for the results")
    add(
        "--labels",
        action="append",
        default=[],
        metavar="[NAME=]DIR|TOPIC",
        help="ground truth: a folder of PNGs or a topic of the recording; repeatable",
    )
    add(
        "--label-map",
        default="identity",
        metavar="MAP",
        help="camvid, cityscapes, idd, bdd, acdc, muses, mapillary, identity (default: the "
        "labels are the bundle's classes) or a YAML file; MAP:TABLE chooses one of its tables",
    )
    add("--domains", type=Path, metavar="CSV", help="stamp_ns or name, and domain, of the frames")
    add(
        "--strategies",
        default=_STRATEGIES,
        metavar="LIST",
        help=f"default: {_STRATEGIES}; also adapter-soup, top-k-weighted, lda-gate, late-fusion, "
        "fixed:NAME=w+NAME=w and semla-gated@TRIGGER",
    )
    add(
        "--curve",
        default="",
        metavar="TRIGGERS",
        help="swap triggers, e.g. 0.05,0.1,0.2,0.5: mIoU lost against fusions saved",
    )
    _run_arguments(parser)
    engine_arguments(parser)


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--leave-out",
        default="",
        metavar="PATTERN",
        help="adapters that may not be used: a name, a pattern such as '*-night', or `domain`: "
        "the one named like the frame's domain",
    )
    add("--exclude-domain", action="append", default=[], help="left out of the means; repeatable")
    add("--topic", help="image topic of the recordings; default: the only one")
    add("--fps", type=float, default=10.0, help="of folders without stamps; default: 10")
    add(
        "--label-tolerance",
        type=float,
        default=0.005,
        metavar="S",
        help="how far truth may lie from its frame; default: 0.005",
    )
    add("--jobs", type=int, default=0, help="processes; default: 1, or Ray's cores")
    add("--ray", default="", metavar="auto|ADDRESS|local", help="carry out on a Ray cluster")
    add("--fresh", action="store_true", help="do not take up what a former run has finished")
    add(
        "--overhead",
        type=int,
        default=0,
        metavar="N",
        help="only measure what evaluating the first N frames takes beyond the network",
    )
    add("--no-report", action="store_true", help="save the numbers only")


def _evaluate(args: argparse.Namespace) -> int:
    from semla_ros.data.labels.label_map import read_label_map
    from semla_ros.data.tasks import tasks_of
    from semla_ros.evaluation.study.lines import unscored
    from semla_ros.evaluation.study.run import StudyRequest, run_study
    from semla_ros.evaluation.study.session import StudySettings

    settings = StudySettings(
        bundle=args.bundle,
        strategies=_strategies(args),
        label_map=read_label_map(args.label_map),
        leave_out=args.leave_out,
        topic=args.topic,
        fps=args.fps,
        tolerance_ns=round(args.label_tolerance * 1e9),
        excluded=tuple(args.exclude_domain),
        changes=changes(args),
    )
    request = StudyRequest(
        tasks=tasks_of(args.inputs, labels=args.labels, domains=args.domains),
        out=args.out,
        settings=settings,
        jobs=args.jobs if args.ray else max(args.jobs, 1),
        ray=args.ray,
        fresh=args.fresh,
    )
    if args.overhead:
        return _overhead(request, args.overhead)
    outcome = run_study(request)
    _tell(outcome)
    if not args.no_report and not outcome.interrupted:
        _report(outcome.study, request)
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    empty = unscored(outcome.study, {task.name for task in request.tasks if task.labels})
    for name in empty:
        print(f"semla: error: {name}: none of its frames was scored", file=sys.stderr)
    return 1 if outcome.failed or empty or not outcome.study.complete else 0


def _overhead(request: StudyRequest, frames: int) -> int:
    from semla_ros.evaluation.study.overhead import measure_overhead
    from semla_ros.evaluation.study.session import Session

    session = Session(request.settings)
    try:
        found = measure_overhead(session, request.tasks[0], frames=frames)
    finally:
        session.close()
    print(
        f"{found.frames} frames, {found.masks} masks: network {found.bare_ms:.0f} ms, evaluation "
        f"{found.study_ms:.0f} ms, overhead {100 * found.share:.1f} %"
    )
    return 0


def _report(study: Study, request: StudyRequest) -> None:
    from semla_ros.bundle import open_bundle
    from semla_ros.evaluation.report import write_report
    from semla_ros.evaluation.report.worst_frames import worst_frames
    from semla_ros.pipeline import default_bundle

    pictures = worst_frames(study, request.tasks, request.settings)
    bundle = open_bundle(request.settings.bundle or default_bundle(), verify=False)
    for path in write_report(study, request.out, pictures=pictures, bundle=bundle):
        print(f"wrote {path}")


def _strategies(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the strategies; in `fixed:` the members are joined by `+`, as `,` parts the list."""
    given = [part.strip() for part in args.strategies.split(",") if part.strip()]
    curve = [f"semla-gated@{part.strip()}" for part in args.curve.split(",") if part.strip()]
    return tuple(s.replace("+", ",") if s.startswith("fixed:") else s for s in (*given, *curve))


def _tell(outcome: StudyOutcome) -> None:
    from semla_ros.evaluation.study.lines import score_lines

    study = outcome.study
    for line in score_lines(study):
        print(line)
    for recording in study.recordings:
        skipped = f", {len(recording.skipped)} skipped" if recording.skipped else ""
        scored = int(recording.scored.sum())
        print(f"{recording.name}: {recording.frames} frames, {scored} scored{skipped}")
        for note in recording.notes:
            print(f"  note: {note}")
        if recording.ended_early:
            print(f"  semla: error: ended early: {recording.ended_early}", file=sys.stderr)
    for name, why in outcome.failed.items():
        print(f"semla: error: {name}: {why}", file=sys.stderr)
    for path in outcome.files:
        print(f"wrote {path}")


def _footage_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the drive goes and how long it is."""
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for drive.mcap and domains.csv")
    add("--seconds", type=float, default=120.0, help="length; default: 120")
    add("--fps", type=float, default=5.0, help="camera rate; default: 5")
    add("--stages", metavar="LIST", help="domains in order; default: all eight, there and back")


def _footage(args: argparse.Namespace) -> int:
    from semla_ros.demo.labelled_drive import THERE_AND_BACK, TRUTH, write_labelled_drive

    stages = args.stages.split(",") if args.stages else THERE_AND_BACK
    drive = write_labelled_drive(
        args.out, seconds=args.seconds, fps=args.fps, domains=[s.strip() for s in stages]
    )
    print(f"wrote {drive.frames} frames to {drive.bag} and their domains to {drive.domains}")
    print(f"semla evaluate {drive.bag} --labels {TRUTH} --domains {drive.domains} --out results")
    return 0


VERBS: Mapping[str, Verb] = {
    "evaluate": Verb("compare strategies on recordings with ground truth", _arguments, _evaluate),
    "footage": Verb("write a labelled drive to try `evaluate` on", _footage_arguments, _footage),
}
