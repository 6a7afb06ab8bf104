"""`semla gaps` and `semla labels`: from captured frames to labels."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb, changes, engine_arguments


def _gaps_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is looked through, and where the outcome goes."""
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="folder that a node captured into (capture_dir), or a recording; one for each robot",
    )
    add("--out", type=Path, required=True, help="new folder for the page and the sets to label")
    add("--topic", help="image topic of the recordings; default: the only one")
    add("--jobs", type=int, default=0, help="processes for recordings; default: 1, or Ray's cores")
    add("--ray", default="", metavar="auto|ADDRESS|local", help="recordings on a Ray cluster")
    engine_arguments(parser)


def _gaps(args: argparse.Namespace) -> int:
    from semla_ros.loop.gap_page import when, write_gaps
    from semla_ros.loop.gaps import GapsRequest, find_gaps

    found = find_gaps(
        GapsRequest(
            inputs=tuple(args.inputs),
            out=args.out,
            bundle=args.bundle,
            topic=args.topic,
            changes=changes(args),
            jobs=args.jobs if args.ray else max(args.jobs, 1),
            ray=args.ray,
        )
    )
    for text in found.sources.problems:
        print(f"left out: {text}")
    for gap in found.gaps:
        frames, robots = len(gap.gap.frames), ", ".join(gap.robots)
        span = f"{when(gap.first_ns)} to {when(gap.last_ns)}"
        print(f"{gap.name}: {frames} frames of {robots}, {span}, nearest {gap.gap.nearest!r}")
    if not found.gaps:
        print("no frame without support: the library covers what was seen")
    for path in write_gaps(found, args.out):
        print(f"wrote {path}")
    return 0


def _labels_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two directions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "write a set's masks for a labelling tool, to begin with"
    out = actions.add_parser("export", help=text, description=text)
    out.add_argument("set", type=Path, help="a set of `semla gaps`")
    out.add_argument("--format", required=True, choices=("cvat", "label-studio", "coco"))
    out.add_argument("--out", type=Path, required=True, help="file to write")
    out.add_argument(
        "--images",
        default="/data/local-files/?d=",
        metavar="PREFIX",
        help="Label Studio: what comes before <name>.png in the address of an image",
    )
    text = "take what a labelling tool gave back as a set's labels"
    back = actions.add_parser("import", help=text, description=text)
    back.add_argument("set", type=Path, help="the set that was exported")
    back.add_argument("file", type=Path, help="zip of CVAT, or JSON of Label Studio or COCO")


def _labels(args: argparse.Namespace) -> int:
    from semla_ros.data.labelling.exchange import export_set, import_labels
    from semla_ros.data.labelling.label_set import read_label_set

    found = read_label_set(args.set)
    if args.action == "export":
        for path in export_set(found, args.format, args.out, images=args.images):
            print(f"wrote {path}")
        print(f"the images are in {args.set / 'images'}")
        return 0
    files = import_labels(found, args.file)
    print(f"{len(files)} of {len(found.images)} images have labels in {args.set / 'labels'}")
    return 0


VERBS: Mapping[str, Verb] = {
    "gaps": Verb("group the frames that the library does not cover", _gaps_arguments, _gaps),
    "labels": Verb(
        "send frames to a labelling tool and take labels back", _labels_arguments, _labels
    ),
}
