"""`semla replay` and `semla topics`: recordings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import EXIT_ERROR, Verb, changes, engine_arguments


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a recording, where results go, and the engine."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, or a .mcap, .db3 or .bag file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--topic", help="image topic; default: the only one")
    parser.add_argument("--no-video", action="store_true", help="do not write overlay.mp4")
    engine_arguments(parser)


def _topics_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a recording."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, or a .mcap, .db3 or .bag file")


def _replay(args: argparse.Namespace) -> int:
    from semla_ros.evaluation.run import ReplayRequest, run_replay

    request = ReplayRequest(
        bag=args.bag,
        out=args.out,
        bundle=args.bundle,
        topic=args.topic,
        changes=changes(args),
        video=not args.no_video,
    )
    outcome = run_replay(request)
    frames = outcome.result.summary()["frames"]
    print(
        f"{frames['segmented']} of {frames['read']} frames segmented, {frames['skipped']} skipped"
    )
    for reason, count in outcome.result.summary()["skipped_why"].items():
        print(f"  skipped {count}: {reason}")
    for note in outcome.result.notes:
        print(f"  note: {note}")
    for path in outcome.files:
        print(f"wrote {path}")
    for failure in outcome.failures:
        print(f"semla: error: {failure}", file=sys.stderr)
    if outcome.result.ended_early:
        print(f"semla: error: ended early: {outcome.result.ended_early}", file=sys.stderr)
        return EXIT_ERROR
    if outcome.failures:
        return EXIT_ERROR
    return 0 if outcome.result.frames else 1


def _topics(args: argparse.Namespace) -> int:
    from semla_ros.data.bags.reader import image_topics

    topics = image_topics(args.bag)
    for topic in topics:
        print(f"{topic.name}  {topic.msgtype}  {topic.count}")
    return 0 if topics else 1


VERBS: Mapping[str, Verb] = {
    "replay": Verb("segment a recording without ROS", _replay_arguments, _replay),
    "topics": Verb("list the image topics of a recording", _topics_arguments, _topics),
}
