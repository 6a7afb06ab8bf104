"""The `semla` command: parses, calls one function, prints; a SemlaError becomes one line.

Verbs import what they need when they run, so `semla --help` needs neither torch nor rclpy.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros import __version__
from semla_ros import cli_arguments as arguments
from semla_ros.errors import ConfigError, SemlaError

if TYPE_CHECKING:
    from semla_ros.library.library import AdapterLibrary

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


@dataclass(frozen=True, slots=True)
class Verb:
    """One word after `semla`: what it is for, its arguments, what it does (an exit code)."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `semla` command and return its exit code: 0, 1 for "no", 2 for an error."""
    args = _parser().parse_args(argv)
    level = logging.INFO if args.verbose else logging.WARNING
    logging.basicConfig(level=level, format="semla: %(levelname)s: %(message)s")
    try:
        return VERBS[args.verb].run(args)
    except SemlaError as error:
        print(f"semla: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("semla: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="semla",
        description="Open-vocabulary segmentation that hot-loads adapters as the world changes.",
    )
    parser.add_argument("--version", action="version", version=f"semla {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on the way")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        verb.arguments(verbs.add_parser(name, help=verb.help, description=verb.help))
    return parser


def _changes(args: argparse.Namespace) -> dict[str, object]:
    """Return the parameters given on the command line."""
    changes: dict[str, object] = {}
    for text in args.param:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"expected --param NAME=VALUE, got {text!r}")
        changes[name.strip()] = _parsed(name.strip(), value.strip())
    shortcuts = {"engine": args.engine, "swap_policy": args.policy}
    return changes | {name: value for name, value in shortcuts.items() if value is not None}


def _parsed(name: str, text: str) -> object:
    """Return `text` as the type of parameter `name`; left as it is where it does not fit."""
    from semla_ros.config import PARAMETERS

    default = PARAMETERS[name].default if name in PARAMETERS else text
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, (int, float)):
        try:
            return int(text) if isinstance(default, int) else float(text)
        except ValueError:
            return text
    return text


def _replay(args: argparse.Namespace) -> int:
    from semla_ros.evaluation.run import ReplayRequest, run_replay

    request = ReplayRequest(
        bag=args.bag,
        out=args.out,
        bundle=args.bundle,
        topic=args.topic,
        changes=_changes(args),
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
    if outcome.result.ended_early:
        print(f"semla: error: ended early: {outcome.result.ended_early}", file=sys.stderr)
        return EXIT_ERROR
    return 0 if outcome.result.frames else 1


def _drive(args: argparse.Namespace) -> int:
    from semla_ros.drive import DriveRequest, run_node

    request = DriveRequest(
        changes=_changes(args) | ({"bundle": str(args.bundle)} if args.bundle else {}),
        image=args.image,
        params_file=args.params_file,
        namespace=args.namespace,
    )
    return run_node(request)


def _import(args: argparse.Namespace) -> int:
    try:
        from semla_ros.bundler.importer import ImportRequest, import_bundle
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"importing needs {error.name!r}: pip install 'semla-ros[train]'"
        ) from error

    request = ImportRequest(
        checkpoint=args.checkpoint,
        loradb=args.loradb,
        classes=args.classes,
        navigator=args.navigator,
        out=args.out,
        navigator_checkpoint=args.navigator_checkpoint,
        navigator_resize=args.navigator_resize,
        family=args.family,
        qkv=args.qkv,
        adapter_guidance=args.adapter_guidance,
        skip_unusable=args.skip_unusable,
    )
    imported = import_bundle(request)
    for name, problem in imported.skipped.items():
        print(f"left out {name}: {problem}", file=sys.stderr)
    print(f"wrote {imported.bundle.root}")
    return 1 if imported.skipped else 0


def _bundle(args: argparse.Namespace) -> int:
    if args.action == "import":
        return _import(args)
    from semla_ros.bundle import open_bundle

    manifest = open_bundle(args.folder, verify=args.action == "verify").manifest
    if args.action == "verify":
        print(f"{manifest.name}: {len(manifest.files)} files as they were built")
        return 0
    navigator, layers = manifest.navigator, manifest.layers
    print(f"{manifest.name}: {manifest.family}, {manifest.segmentation.size} px")
    print(f"base model    {manifest.base_model}")
    print(f"navigator     {navigator.identity if navigator else 'none: explicit mixes only'}")
    print(f"classes       {', '.join(manifest.vocabulary.names)}")
    graphs = sorted({layer.graph for layer in layers})
    print(f"adaptable     {len(layers)} layers in {', '.join(graphs)}")
    library = _open_library(args.folder)
    print(f"adapters      {', '.join(library.names) or 'none'}")
    for name, problem in library.problems.items():
        print(f"unusable      {name}: {problem}")
    return 0


def _open_library(folder: Path) -> AdapterLibrary:
    from semla_ros.bundle import open_bundle
    from semla_ros.library.library import AdapterLibrary

    bundle = open_bundle(folder, verify=False)
    navigator = bundle.manifest.navigator
    return AdapterLibrary.open(
        bundle.library,
        layers=bundle.manifest.layers,
        base_model=bundle.manifest.base_model,
        encoder=navigator.identity if navigator else None,
        dim=navigator.dim if navigator else None,
    )


def _library(args: argparse.Namespace) -> int:
    library = _open_library(args.folder)
    if args.action == "add":
        library = library.add(args.source, args.name or args.source.resolve().name)
    elif args.action == "remove":
        library = library.remove(args.name)
    elif args.action == "rename":
        library = library.rename(args.old, args.new)
    for name in library.names:
        print(name)
    for name, problem in library.problems.items():
        print(f"{name}  unusable: {problem}")
    return 1 if library.problems else 0


def _segment(args: argparse.Namespace) -> int:
    from semla_ros.config import Config
    from semla_ros.evaluation.segment import SegmentRequest, segment_images

    request = SegmentRequest(
        bundle=args.bundle,
        images=args.images,
        out=args.out,
        mix=args.mix,
        engine=args.engine,
        window=args.window,
        classes=args.classes,
        save_logits=args.save_logits,
        config=Config(threads=args.threads),
    )
    for path in segment_images(request):
        print(f"wrote {path}")
    return 0


def _topics(args: argparse.Namespace) -> int:
    from semla_ros.bags.reader import image_topics

    topics = image_topics(args.bag)
    for topic in topics:
        print(f"{topic.name}  {topic.msgtype}  {topic.count}")
    return 0 if topics else 1


def _demo(args: argparse.Namespace) -> int:
    from semla_ros.demo import showcase

    shown = showcase.run(args.out, seconds=args.seconds, bundle=args.bundle)
    print(f"{shown.page}: {shown.shows}")
    return 0


def _params(args: argparse.Namespace) -> int:
    from semla_ros.config import PARAMETERS
    from semla_ros.parameter import parameter_table

    print(parameter_table(PARAMETERS.values()))
    return 0


VERBS: Mapping[str, Verb] = {
    "demo": Verb(
        "drive through changing weather over ROS 2 and show it", arguments.demo_arguments, _demo
    ),
    "drive": Verb("run the ROS 2 node", arguments.drive_arguments, _drive),
    "replay": Verb("segment a recording without ROS", arguments.replay_arguments, _replay),
    "topics": Verb("list the image topics of a recording", arguments.topics_arguments, _topics),
    "segment": Verb("segment single images", arguments.segment_arguments, _segment),
    "bundle": Verb("show, verify or import a model bundle", arguments.bundle_arguments, _bundle),
    "library": Verb("list or change a bundle's adapters", arguments.library_arguments, _library),
    "params": Verb("print every parameter as a Markdown table", arguments.no_arguments, _params),
}
