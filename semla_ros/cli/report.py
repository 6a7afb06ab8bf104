"""`semla report` and `semla tune`: what saved evaluations say, and settings from them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli.verb import Verb, changes, engine_arguments
from semla_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from semla_ros.evaluation.study.study import Study

RESULTS = "results.json"


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is reported, and what is written besides the page."""
    add = parser.add_argument
    add("studies", nargs="+", type=Path, metavar="STUDY", help="folder of semla evaluate")
    add("--out", type=Path, required=True, help="folder for page and tables")
    add("--merge", action="store_true", help="one report of all, instead of side by side")
    add("--bundle", type=Path, help="shows the library's centroids on the map")
    add("--latex", action="store_true", help="also write tables.tex")
    add(
        "--bad-below",
        type=float,
        action="append",
        default=[],
        metavar="MIOU",
        help="mIoU of 0..1 below which a mask is bad; default: the worst quarter; repeatable",
    )
    add(
        "--export-gaps",
        type=Path,
        metavar="DIR",
        help="write frames of low support as images and a bag, ready for labelling",
    )


def _report(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.evaluation.report import write_report
    from semla_ros.evaluation.report.compare_page import short_names, write_comparison
    from semla_ros.evaluation.report.findings import findings
    from semla_ros.evaluation.report.verdict import verdict
    from semla_ros.evaluation.study.study import merge_studies

    studies = _studies(args.studies)
    if len(studies) > 1 and not args.merge:
        if args.export_gaps is not None:
            raise ConfigError("expected one study or --merge with --export-gaps, got several")
        names = short_names(args.studies)
        files = write_comparison(studies, names, args.out, with_latex=args.latex)
    else:
        study = merge_studies(studies) if len(studies) > 1 else studies[0]
        bundle = None if args.bundle is None else open_bundle(args.bundle)
        files = write_report(
            study, args.out, bundle=bundle, with_latex=args.latex, bad_below=args.bad_below
        )
        for line in verdict(study, findings(study, bad_below=args.bad_below)):
            print(line)
        if args.export_gaps is not None:
            files = (*files, *_exported(study, args.export_gaps))
    for path in files:
        print(f"wrote {path}")
    return 0


def _exported(study: Study, out: Path) -> tuple[Path, ...]:
    from semla_ros.evaluation.analysis.gaps import library_gaps
    from semla_ros.evaluation.report.gap_files import export_gaps

    gaps = library_gaps(study)
    for gap in gaps:
        print(f"gap {gap.number}: {len(gap.frames)} frames, nearest adapter {gap.nearest!r}")
    return export_gaps(study, gaps, out)


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what settings are chosen from, and which are tried."""
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="STUDY|INPUT",
        help="folder of semla evaluate (filter and debounce), or [NAME=]recording, folder of "
        "images or video with --labels (temperature, top_k, distance, null adapter)",
    )
    add("--out", type=Path, required=True, help="folder for params.yaml and the page")
    add("--labels", action="append", default=[], metavar="[NAME=]DIR|TOPIC", help="ground truth")
    add("--label-map", default="identity", metavar="MAP", help="as in semla evaluate")
    add("--topic", help="image topic; default: the only one")
    add("--leave-out", default="", metavar="PATTERN", help="adapters left out; domain: the own")
    add("--frames", type=int, default=16, help="sampled frames of each recording; default: 16")
    add("--temperatures", default="", metavar="LIST", help="default: around the bundle's")
    add("--top-k", default="1,2,3,5,7", metavar="LIST", help="default: 1,2,3,5,7")
    add("--distances", default="", metavar="LIST", help="default: the bundle's")
    add(
        "--false-alarms",
        type=float,
        default=0.0,
        metavar="RATE",
        help="set out_of_library and support_low so that this share of known frames passes",
    )
    add(
        "--archive",
        default="",
        metavar="LIST",
        help="numbers of fused models for a whole archive, e.g. 4,8,16: mIoU and fusions saved",
    )
    add(
        "--write-calibration",
        type=Path,
        metavar="BUNDLE",
        help="put the expected mIoU fitted on the studies into this bundle's manifest",
    )
    engine_arguments(parser)


def _tune(args: argparse.Namespace) -> int:
    from semla_ros.data.labels.label_map import read_label_map
    from semla_ros.data.tasks import tasks_of
    from semla_ros.evaluation.report.tuning import TuneRequest, tune
    from semla_ros.evaluation.study.session import StudySettings

    saved = [text for text in args.inputs if _is_study(Path(text))]
    recordings = [text for text in args.inputs if text not in saved]
    studies = _studies([Path(text) for text in saved])
    if args.write_calibration is not None:
        _calibrate(args.write_calibration, studies, args.inputs)
    request = TuneRequest(
        studies=tuple(studies),
        tasks=tasks_of(recordings, labels=args.labels) if recordings else (),
        out=args.out,
        settings=StudySettings(
            bundle=args.bundle,
            label_map=read_label_map(args.label_map),
            leave_out=args.leave_out,
            topic=args.topic,
            changes=changes(args),
        ),
        temperatures=tuple(_numbers("--temperatures", args.temperatures)),
        top_ks=tuple(int(k) for k in _numbers("--top-k", args.top_k)),
        distances=tuple(d.strip() for d in args.distances.split(",") if d.strip()),
        frames=args.frames,
        false_alarms=args.false_alarms,
        groups=tuple(int(g) for g in _numbers("--archive", args.archive)),
    )
    tuned, files = tune(request)
    for line in tuned.why:
        print(line)
    for path in files:
        print(f"wrote {path}")
    return 0


def _calibrate(root: Path, studies: Sequence[Study], inputs: Sequence[str]) -> None:
    from semla_ros.evaluation.analysis.store_calibration import write_calibration

    if not studies:
        raise ConfigError("expected a STUDY with --write-calibration, got recordings alone")
    made_by = f"semla tune {' '.join(Path(text).name for text in inputs)} --write-calibration"
    _, report = write_calibration(root, studies, made_by=made_by)
    print(
        f"calibrated {root}: on held-out domains the expected mIoU errs by "
        f"{100 * report.error:.1f} points ("
        + ", ".join(f"{name}: {100 * e:.1f}" for name, e in report.errors.items())
        + f"), the bound holds for {100 * report.coverage:.1f} % of frames (target "
        f"{100 * report.target:.0f} %), worst {report.worst.domain} with "
        f"{100 * report.worst.coverage:.1f} %"
    )


def _studies(paths: Sequence[Path]) -> list[Study]:
    from semla_ros.evaluation.study.store import load_study

    return [load_study(path) for path in paths]


def _is_study(path: Path) -> bool:
    return path.name == RESULTS or (path / RESULTS).is_file()


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(f"expected numbers with {option}, got {text!r}") from error


VERBS: Mapping[str, Verb] = {
    "report": Verb(
        "show saved evaluations: one in depth, several side by side", _report_arguments, _report
    ),
    "tune": Verb(
        "choose settings from saved evaluations and labelled recordings", _tune_arguments, _tune
    ),
}
