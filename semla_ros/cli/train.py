"""`semla train`: adapters, bases and whole libraries from labelled frames."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli.verb import Verb, bundle_argument, significant_bits_argument
from semla_ros.core.errors import TrainingError

if TYPE_CHECKING:
    from semla_ros.bundle import ModelBundle
    from semla_ros.prepare.training.ground import DataRequest
    from semla_ros.prepare.training.run import How

_INSTALL = "pip install '.[train]', or scripts/setup --dev in a clone"


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which frames, and what their labels mean."""
    bundle_argument(parser)
    add = parser.add_argument
    add(
        "--data",
        nargs="+",
        required=True,
        metavar="[NAME=]INPUT",
        help="labelled recordings, folders of images or videos, as `semla evaluate` takes them",
    )
    add(
        "--labels",
        action="append",
        default=[],
        metavar="[NAME=]DIR|TOPIC",
        help="their labels: a folder of PNGs or a topic of the recording; repeatable",
    )
    add("--label-map", default="identity", metavar="MAP", help="as in `semla evaluate`")
    add("--domains", type=Path, metavar="CSV", help="take the frames of this domain alone")
    add(
        "--held-out",
        nargs="+",
        default=[],
        metavar="INPUT",
        help="judge by these instead of a part of --data",
    )
    add("--topic", help="image topic of the recordings; default: the only one")
    add("--fps", type=float, default=10.0, help="of folders without stamps; default: 10")
    add("--label-tolerance", type=float, default=0.005, metavar="S", help="default: 0.005")
    significant_bits_argument(parser)


def how_arguments(parser: argparse.ArgumentParser) -> None:
    """Add recipe and hardware."""
    add = parser.add_argument
    add(
        "--recipe",
        metavar="NAME|FILE",
        help="default: the bundle's own, else semla",
    )
    add(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="FIELD=VALUE",
        help="one field of the recipe; repeatable",
    )
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--precision", default="auto", help="auto, f32, bf16 or f16")
    add(
        "--threads",
        type=int,
        default=0,
        help="CPU threads; default: OMP_NUM_THREADS, else all usable cores",
    )
    add("--fresh", action="store_true", help="do not go on with an interrupted run")


def _how_arguments(parser: argparse.ArgumentParser) -> None:
    how_arguments(parser)
    text = "say what would be trained, and stop"
    parser.add_argument("--dry-run", action="store_true", help=text)


def _adapter_arguments(parser: argparse.ArgumentParser) -> None:
    _data_arguments(parser)
    add = parser.add_argument
    add("--name", help="of the adapter; default: the name given in --data")
    add("--init", help="kaiming, pissa, soma or rrqr; short for --set init=")
    add(
        "--reproduce-official",
        action="store_true",
        help="train with the original's habits: ignored pixels as no class, dead q, k and v, the "
        "decoder's doubled tap",
    )
    add("--compress", type=int, default=0, metavar="RANK", help="shrink the adapter by SVD")
    add("--licence", default="", metavar="TEXT", help="goes onto the adapter's card as given")
    add("--replace", action="store_true", help="take the place of an adapter of that name")
    _how_arguments(parser)


def _adapter(args: argparse.Namespace) -> int:
    from semla_ros.prepare.training.adapter import AdapterRequest, train_adapter
    from semla_ros.prepare.training.recipe import ADAPTER

    bundle = _bundle(args)
    name = args.name or _only_name(args.data)
    domain = _only_name(args.data, default=name) if args.domains else ""
    request = AdapterRequest(
        bundle=bundle.root,
        name=name,
        data=_data(args, domain=domain),
        how=how_of(args, bundle, kind=ADAPTER),
        replace=args.replace,
        licence=args.licence,
        compress=args.compress,
    )
    train_adapter(request, say, dry_run=args.dry_run)
    return 0


def _base_arguments(parser: argparse.ArgumentParser) -> None:
    _data_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the new bundle"
    )
    _how_arguments(parser)


def _base(args: argparse.Namespace) -> int:
    from semla_ros.prepare.training.base import BaseRequest, train_base
    from semla_ros.prepare.training.recipe import BASE

    bundle = _bundle(args)
    domain = _only_name(args.data) if args.domains else ""
    request = BaseRequest(
        bundle.root, args.out, _data(args, domain=domain), how_of(args, bundle, kind=BASE)
    )
    train_base(request, say, dry_run=args.dry_run)
    return 0


def _library_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domains", type=Path, metavar="YAML", help="what each domain is made of")
    bundle_argument(parser)
    add = parser.add_argument
    add("--jobs", type=int, default=1, help="domains side by side; default: 1")
    add("--ray", default="", metavar="auto|ADDRESS|local", help="carry out on a Ray cluster")
    add("--replace", action="store_true", help="take the place of adapters of these names")
    _how_arguments(parser)


def _library(args: argparse.Namespace) -> int:
    from semla_ros.prepare.training.domains import read_domains_file, train_library
    from semla_ros.prepare.training.recipe import ADAPTER

    bundle = _bundle(args)

    def how(recipe: str) -> How:
        return how_of(args, bundle, kind=ADAPTER, recipe=recipe)

    requests = read_domains_file(args.domains, bundle, how, replaces=args.replace)
    if args.dry_run:
        for request in requests:
            inputs = ", ".join(str(task.path) for task in request.data.every)
            say(f"{request.name}: {inputs}; recipe {request.how.recipe_name}")
        return 0
    outcome = train_library(requests, jobs=args.jobs, ray=args.ray, say=say)
    say(f"{len(outcome.lines)} of {len(requests)} domains are in the library")
    return 1 if outcome.failed else 0


def _bundle(args: argparse.Namespace) -> ModelBundle:
    from semla_ros.bundle import open_bundle
    from semla_ros.pipeline import default_bundle

    return open_bundle(args.bundle or default_bundle(), verify=False)


def _data(args: argparse.Namespace, *, domain: str) -> DataRequest:
    from semla_ros.data.labels.label_map import read_label_map
    from semla_ros.data.tasks import ReadSettings, tasks_of
    from semla_ros.prepare.training.ground import DataRequest

    reading = ReadSettings(
        label_map=read_label_map(args.label_map),
        topic=args.topic,
        fps=args.fps,
        tolerance_ns=round(args.label_tolerance * 1e9),
        significant_bits=args.significant_bits,
    )
    every = tasks_of([*args.data, *args.held_out], labels=args.labels, domains=args.domains)
    count = len(args.data)
    return DataRequest(every[:count], every[count:], reading, domain)


def how_of(args: argparse.Namespace, bundle: ModelBundle, *, kind: str, recipe: str = "") -> How:
    """Return recipe and hardware given on the command line; `recipe` in the place of its own."""
    from semla_ros.prepare.training.hardware import Hardware
    from semla_ros.prepare.training.recipe import OFFICIAL, changed, read_recipe
    from semla_ros.prepare.training.run import How

    name, read = read_recipe(recipe or args.recipe, bundle, kind=kind)
    settings: dict[str, object] = {}
    for text in args.settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise TrainingError(f"expected --set FIELD=VALUE, got {text!r}")
        settings[key.strip()] = value.strip()
    if getattr(args, "init", None):
        settings["init"] = args.init
    if getattr(args, "reproduce_official", False):
        settings["official"] = list(OFFICIAL)
    hardware = Hardware(args.device, args.precision)
    return How(name, changed(read, settings), hardware, args.fresh, args.threads)


def _only_name(data: list[str], *, default: str = "") -> str:
    """Return the NAME= of `data`; `default` where there is none."""
    from semla_ros.data.tasks import named

    names = {name for name, _ in map(named, data) if name} or {default} - {""}
    if len(names) != 1:
        raise TrainingError(
            f"expected one NAME= for all of --data, or none and --name, got {sorted(names)!r}"
        )
    return names.pop()


def say(line: str) -> None:
    """Print a line above a bar of progress."""
    from tqdm import tqdm

    with tqdm.external_write_mode(sys.stdout):
        print(line, flush=True)


_VERBS: Mapping[str, Verb] = {
    "adapter": Verb(
        "train an adapter on labelled frames of one domain", _adapter_arguments, _adapter
    ),
    "base": Verb("train all weights of a base: a new bundle", _base_arguments, _base),
    "library": Verb(
        "train the adapters of several domains, side by side", _library_arguments, _library
    ),
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is trained."""
    actions = parser.add_subparsers(dest="action", metavar="WHAT", required=True)
    for action, verb in _VERBS.items():
        verb.arguments(actions.add_parser(action, help=verb.help, description=verb.help))


def _train(args: argparse.Namespace) -> int:
    try:
        return _VERBS[args.action].run(args)
    except KeyboardInterrupt:
        print("semla: the last checkpoint is kept: the same command goes on", file=sys.stderr)
        raise
    except ModuleNotFoundError as error:
        raise TrainingError(f"training needs {error.name!r}: {_INSTALL}") from error


VERBS: Mapping[str, Verb] = {
    "train": Verb("train adapters, a base or a library", _arguments, _train)
}
