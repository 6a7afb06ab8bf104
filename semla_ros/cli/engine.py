"""`semla engine`: which engines run here, and building TensorRT plans ahead of time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "say which engines can segment with a bundle here, and why others cannot"
    listing = actions.add_parser("list", help=text, description=text)
    listing.add_argument("bundle", type=Path, nargs="?", help="default: the demo bundle")
    listing.add_argument(
        "--threads", type=int, default=0, help="CPU threads; default: all but one"
    )
    text = "build the TensorRT plans of a bundle for the GPU of this machine; minutes"
    _build_arguments(actions.add_parser("build", help=text, description=text))


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle folder")
    add("--precision", choices=("f16", "f32"), default="f16", help="default: f16")
    add("--no-navigator", action="store_true", help="leave the navigator to ONNX Runtime")
    add("--again", action="store_true", help="build even if there is such a plan")


def _build(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.engine import EngineOptions, require_package
    from semla_ros.engine.golden import require_golden

    bundle = open_bundle(args.bundle)
    require_package("tensorrt")
    from semla_ros.engine.tensorrt.engine import TensorRtEngine
    from semla_ros.engine.tensorrt.plans import plan_folder
    from semla_ros.engine.tensorrt.runner import TensorRtRunner

    options = EngineOptions(precision=args.precision)
    with TensorRtEngine.open(
        bundle, options=options, build=True, again=args.again, tell=_shown
    ) as engine:
        error = require_golden(engine, bundle)
        print(f"segmentation  {engine.facts.precision}, within {error:.2e} of ONNX Runtime")
    if not args.no_navigator and bundle.manifest.navigator is not None:
        TensorRtRunner.open(bundle, build=True, again=args.again, tell=_shown).close()
        print("navigator     f16")
    print(f"plans         {plan_folder()}")
    return 0


def _shown(phase: str, done: int, total: int) -> bool:
    """Write how far a build is on one line of the terminal, or nothing into a file."""
    if sys.stderr.isatty():
        text = f"{phase} {done}/{total}"[:78]
        print(f"\r{text:<79}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
    return True


def _list(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.core.engines import ENGINES
    from semla_ros.core.errors import SemlaError
    from semla_ros.engine import create_engine
    from semla_ros.pipeline import default_bundle

    bundle = open_bundle(args.bundle or default_bundle(), verify=False)
    for name in ENGINES:
        try:
            with create_engine(name, bundle, threads=args.threads) as engine:
                facts = engine.facts
                print(f"{name:<10} {facts.precision} on {facts.device}  {facts.identity}")
        except SemlaError as error:
            print(f"{name:<10} no: {error}")
    return 0


def _engine(args: argparse.Namespace) -> int:
    return _build(args) if args.action == "build" else _list(args)


VERBS: Mapping[str, Verb] = {
    "engine": Verb("say which engines run here; build TensorRT plans", _engine_arguments, _engine),
}
