"""`semla gaps`, `labels` and `loop`: from captured frames to a new adapter."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from semla_ros.cli.train import how_arguments, how_of, say
from semla_ros.cli.verb import Verb, bundle_argument, changes, engine_arguments
from semla_ros.core.errors import ConfigError, TrainingError
from semla_ros.data.labelling import FORMATS, LOCAL_FILES

_RELOAD = (
    "a running node takes it with: ros2 service call /segmenter/reload_library "
    "std_srvs/srv/Trigger"
)


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
    out.add_argument("--format", required=True, choices=FORMATS)
    out.add_argument("--out", type=Path, required=True, help="file to write")
    out.add_argument(
        "--images",
        default=LOCAL_FILES,
        metavar="PREFIX",
        help="Label Studio: what comes before <name>.png in the address of an image",
    )
    text = "take what a labelling tool gave back as a set's labels"
    back = actions.add_parser("import", help=text, description=text)
    back.add_argument("set", type=Path, help="the set that was exported")
    back.add_argument("file", type=Path, help="zip of CVAT, or JSON of Label Studio or COCO")
    back.add_argument(
        "--accept-proposals",
        action="store_true",
        help="masks that came back as they were proposed are labels, too: somebody checked them",
    )


def _labels(args: argparse.Namespace) -> int:
    from semla_ros.data.labelling.exchange import export_set, import_labels
    from semla_ros.data.labelling.label_set import read_label_set

    found = read_label_set(args.set)
    if args.action == "export":
        for path in export_set(found, args.format, args.out, images=args.images):
            print(f"wrote {path}")
        print(f"the images are in {args.set / 'images'}")
        return 0
    got = import_labels(found, args.file, accept_proposals=args.accept_proposals)
    print(
        f"wrote labels of {len(got.files)} of {len(found.images)} images to {args.set / 'labels'}"
    )
    for text in got.left_out():
        print(f"left out: {text}")
    return 0


def _loop_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is done with adapters that do not serve yet."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "train a domain from a labelled set and hold it against what serves today"
    train = actions.add_parser("train", help=text, description=text)
    add = train.add_argument
    add("set", type=Path, help="a set of `semla gaps` that has labels")
    bundle_argument(train)
    add("--name", help="of the domain; default: the set's folder")
    add(
        "--others",
        nargs="+",
        default=[],
        metavar="NAME=INPUT",
        help="labelled frames of domains that the library has, as `semla evaluate` takes them",
    )
    add("--labels", action="append", default=[], metavar="[NAME=]DIR|TOPIC", help="their labels")
    add("--label-map", default="identity", metavar="MAP", help="as in `semla evaluate`")
    add("--min-gain", type=float, default=1.0, metavar="POINTS", help="of mIoU in its own domain")
    add("--max-harm", type=float, default=0.5, metavar="POINTS", help="of mIoU in another domain")
    add(
        "--max-share",
        type=float,
        default=2.0,
        metavar="PERCENT",
        help="of the weight in a domain without labelled frames",
    )
    add("--auto", action="store_true", help="let it in without asking, if it passes")
    how_arguments(train)
    text = "name the adapters in quarantine, with what was found of them"
    listed = actions.add_parser("list", help=text, description=text)
    text = "drive through snow that the library lacks, close the gap, drive again; over ROS 2"
    demo = actions.add_parser("demo", help=text, description=text)
    text = "new folder for the page and all that was made; default: loop_out"
    demo.add_argument("--out", type=Path, default=Path("loop_out"), help=text)
    text = "let an adapter that passed into the library"
    approve = actions.add_parser("approve", help=text, description=text)
    for each in (listed, approve):
        each.add_argument("bundle", type=Path, help="the bundle folder that holds the library")
    approve.add_argument("name", help="of the adapter")


def _loop(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.loop.approval import approve
    from semla_ros.loop.quarantine import read_verdict, verdict_table, waiting

    if args.action in _ACTIONS:
        return _ACTIONS[args.action](args)
    bundle = open_bundle(args.bundle, verify=False)
    if args.action == "approve":
        print(f"wrote {approve(bundle, args.name)}")
        print(_RELOAD)
        return 0
    for name in waiting(bundle):
        for line in verdict_table(read_verdict(bundle, name)):
            print(line)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from semla_ros.demo.loop_run import run

    page, outcome = run(args.out, say)
    print(f"{page}: {outcome.shows}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.data.labels.label_map import read_label_map
    from semla_ros.data.tasks import ReadSettings, Task, tasks_of
    from semla_ros.pipeline import default_bundle

    try:
        from semla_ros.loop.proof import Thresholds
        from semla_ros.loop.quarantine import verdict_table
        from semla_ros.loop.train import LoopRequest, train_domain
        from semla_ros.prepare.training.recipe import ADAPTER
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"training needs {error.name!r}: pip install 'semla-ros[train]'"
        ) from error
    bundle = open_bundle(args.bundle or default_bundle(), verify=False)
    name = args.name or args.set.resolve().name
    if args.labels and not args.others:
        raise ConfigError(f"expected --others with --labels {args.labels!r}, got none: name both")
    others: dict[str, list[Task]] = {}
    for task in tasks_of(args.others, labels=args.labels) if args.others else ():
        others.setdefault(task.domain, []).append(task)
    request = LoopRequest(
        label_set=args.set,
        bundle=bundle.root,
        name=name,
        how=how_of(args, bundle, kind=ADAPTER),
        others=others,
        reading=ReadSettings(label_map=read_label_map(args.label_map)),
        thresholds=Thresholds(args.min_gain / 100, args.max_harm / 100, args.max_share / 100),
        auto=args.auto,
    )
    verdict = train_domain(request, say)
    for line in verdict_table(verdict):
        print(line)
    if not verdict.passed:
        return 1
    print(_RELOAD if args.auto else f"to let it in: semla loop approve {bundle.root} {name}")
    return 0


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {"demo": _demo, "train": _train}

VERBS: Mapping[str, Verb] = {
    "gaps": Verb("group the frames that the library does not cover", _gaps_arguments, _gaps),
    "loop": Verb("train what was labelled, and let it in if it pays", _loop_arguments, _loop),
    "labels": Verb(
        "send frames to a labelling tool and take labels back", _labels_arguments, _labels
    ),
}
