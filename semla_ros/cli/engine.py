"""`semla engine`: which engines run here, and building TensorRT plans ahead of time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb

_PRECISIONS = ("fp16", "fp32")
_MODES = ("refit", "inputs")


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
    add("--precision", choices=_PRECISIONS, default="fp16", help="default: fp16")
    add("--mode", choices=_MODES, default="refit", help="how weights change; default: refit")
    add("--classes", help="N, or LOW:BEST:HIGH (slower); default: as many as the bundle's list")
    add("--typing", choices=("auto", "weak", "strong"), default="auto", help="default: auto")
    add("--workspace", type=int, default=2048, metavar="MIB", help="scratch memory; default: 2048")
    add("--cache", type=Path, help="folder of plans; default: the user's cache folder")
    add("--no-navigator", action="store_true", help="leave the navigator to ONNX Runtime")
    add("--again", action="store_true", help="build even if there is such a plan")
    add(
        "--threads", type=int, default=0, help="CPU threads of the reference; default: all but one"
    )


def _build(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.engine.tensorrt.options import BuildOptions, ClassRange
    from semla_ros.engine.tensorrt.prebuild import BuildRequest, prebuild

    bundle = open_bundle(args.bundle)
    count = len(bundle.manifest.vocabulary.names)
    options = BuildOptions(
        classes=ClassRange.parse(args.classes) if args.classes else ClassRange.exactly(count),
        mode=args.mode,
        precision=args.precision,
        typing=args.typing,
        workspace_mib=args.workspace,
    )
    request = BuildRequest(
        bundle=bundle,
        options=options,
        folder=args.cache,
        navigator=not args.no_navigator,
        again=args.again,
        threads=args.threads,
    )
    report = prebuild(request, progress=_shown)
    print(f"plan       {report.plan} ({report.nbytes * 1e-6:.1f} MB)")
    print(f"served as  {report.detail}")
    for weights, error in report.errors.items():
        print(f"error      {error:.2e} with {weights} weights, against ONNX Runtime in FP32")
    if report.navigator_error is not None:
        print(f"navigator  {report.navigator_error:.2e} against ONNX Runtime in FP32")
    return 0


def _shown(phase: str, done: int, total: int) -> bool:
    """Write how far a build is on one line of the terminal, or nothing into a file."""
    if sys.stderr.isatty():
        text = f"{phase} {done}/{total}"[:78]
        print(f"\r{text:<79}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
    return True


def _list(args: argparse.Namespace) -> int:
    from semla_ros.bundle import open_bundle
    from semla_ros.engine import ENGINES, create_engine
    from semla_ros.errors import SemlaError
    from semla_ros.pipeline import default_bundle

    bundle = open_bundle(args.bundle or default_bundle(), verify=False)
    for name in ENGINES:
        try:
            with create_engine(name, bundle, threads=args.threads) as engine:
                print(f"{name:<10} {engine.precision} on {engine.device}  {engine.identity}")
        except SemlaError as error:
            print(f"{name:<10} no: {error}")
    _tensorrt_features()
    return 0


def _tensorrt_features() -> None:
    """Say what the installed TensorRT can do, if there is one."""
    from semla_ros.engine.tensorrt.features import features_of
    from semla_ros.engine.tensorrt.toolkit import import_tensorrt
    from semla_ros.errors import EngineUnavailableError

    try:
        trt = import_tensorrt()
    except EngineUnavailableError:
        return
    print(f"TensorRT {trt.__version__}")
    for line in features_of(trt).lines():
        print(f"  {line}")


def _engine(args: argparse.Namespace) -> int:
    return _build(args) if args.action == "build" else _list(args)


VERBS: Mapping[str, Verb] = {
    "engine": Verb("say which engines run here; build TensorRT plans", _engine_arguments, _engine),
}
