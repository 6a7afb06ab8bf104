"""`semla record` and `semla compare`: live runs, and holding them against replays."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb, changes, engine_arguments

LIVE, COMPARISON = "live.mcap", "comparison.json"


def _record_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a recording, where results go, and the engine."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, or a .mcap or .db3 file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--topic", help="image topic; default: the only one")
    engine_arguments(parser)


def _record(args: argparse.Namespace) -> int:
    from semla_ros.evaluation.live_result import read_live
    from semla_ros.processes.drive import require_ros
    from semla_ros.processes.live import play_live

    require_ros()
    given = changes(args) | ({"bundle": str(args.bundle.resolve())} if args.bundle else {})
    run = play_live(args.bag, args.out / LIVE, topic=args.topic, changes=given)
    result = read_live(run.recording)
    print(f"{len(result.frames)} masks for {len(run.sent)} images; wrote {run.recording}")
    return 0


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two runs."""
    text = "folder of `semla replay`, or recording of `semla record` or record.launch.py"
    parser.add_argument("first", type=Path, help=text)
    parser.add_argument("second", type=Path, help="the same; compared with the first")
    parser.add_argument("--out", type=Path, help=f"write {COMPARISON} to this folder")


def _compare(args: argparse.Namespace) -> int:
    from semla_ros.evaluation.compare import (
        compare,
        comparison_table,
        read_run,
        write_comparison,
    )

    comparison = compare(read_run(_live(args.first)), read_run(_live(args.second)))
    print(comparison_table(comparison, (args.first.name, args.second.name)))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_comparison(comparison, args.out / COMPARISON)
    return 0


def _live(path: Path) -> Path:
    """Return the recording in a folder that `semla record` wrote, other paths as they are."""
    return path / LIVE if (path / LIVE).is_file() else path


VERBS: Mapping[str, Verb] = {
    "record": Verb(
        "play a recording into the running node and record its answers", _record_arguments, _record
    ),
    "compare": Verb(
        "hold two runs over the same frames against each other", _compare_arguments, _compare
    ),
}
