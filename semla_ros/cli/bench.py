"""`semla bench`: measuring, and the page of what was measured."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli import experiments
from semla_ros.cli.bench_family import family, family_arguments
from semla_ros.cli.verb import Verb, bundle_argument, engine_arguments, node_changes
from semla_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from semla_ros.bench.record import BenchRecord

_RATES = "5,10,30,peak"
_SHAPES = ("bundle", "vit-b")


def _node_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--rates", default=_RATES, help=f"Hz, and `peak`; default: {_RATES}")
    add("--seconds", type=float, default=10.0, help="length of a run; default: 10")
    add("--repeats", type=int, default=3, help="of every run; default: 3")
    add("--transport", default="raw", help="raw, compressed or both: raw,compressed")
    add("--executor", default="single", help="single, multi, events or several of them")
    add("--middleware", default="shm", help="shm, default, large_data or several of them")
    add("--loss", type=float, default=0.01, help="frames that may be lost at peak; default: 0.01")
    add("--input", type=Path, help="images or recording to play; default: the demo world")
    engine_arguments(parser)


def _node(args: argparse.Namespace, command: str) -> BenchRecord:
    import tempfile

    from semla_ros.bench.node_bench import NodeBenchRequest, run_node_bench
    from semla_ros.bench.node_record import node_record
    from semla_ros.bench.processes import setups_of

    words = [word.strip() for word in args.rates.split(",") if word.strip()]
    request = NodeBenchRequest(
        rates=tuple(_rate(word) for word in words if word != "peak"),
        peak="peak" in words,
        seconds=args.seconds,
        repeats=args.repeats,
        setups=setups_of(
            args.transport.split(","), args.executor.split(","), args.middleware.split(",")
        ),
        loss=args.loss,
        source=args.input,
        changes=node_changes(args),
    )
    with tempfile.TemporaryDirectory(prefix="semla-bench-") as scratch:
        bench = run_node_bench(request, logs=Path(scratch))
    return node_record(request, bench, command=command)


def _rate(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise ConfigError(f"expected --rates of numbers and 'peak', got {word!r}") from error


def _swap_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    bundle_argument(parser)
    add("--shapes", choices=_SHAPES, default="bundle", help="vit-b: random weights")
    add("--rounds", type=int, default=5, help="interleaved; default: 5")
    add("--frames", type=int, default=30, help="without, and with swaps, a round; default: 30")
    add("--only", help="candidates, separated by commas; default: all")
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")


def _swap(args: argparse.Namespace, command: str) -> BenchRecord:
    from semla_ros.bench.swap_bench import CANDIDATES, SwapRequest, run_swaps

    keys = args.only.split(",") if args.only else tuple(CANDIDATES)
    request = SwapRequest(args.bundle, args.shapes, args.rounds, args.frames, keys, args.threads)
    return run_swaps(request, command=command)


def _soak_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--frames", type=int, default=0, help="how many; or --minutes")
    add("--minutes", type=float, default=0.0, help="how long; or --frames")
    add("--probes", type=int, default=20, help="how often A, B, A is tried; default: 20")
    engine_arguments(parser)


def _soak(args: argparse.Namespace, command: str) -> BenchRecord:
    from semla_ros.bench.soak import SoakRequest, run_soak, soak_record

    changes = node_changes(args)
    request = SoakRequest(args.frames, args.minutes, args.probes, changes=changes)
    return soak_record(request, run_soak(request), command=command)


def _floor_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    bundle_argument(parser)
    add("--shapes", choices=_SHAPES, default="bundle", help="vit-b: random weights")
    add("--engines", help="NAME or NAME:PRECISION, separated by commas; default: all on the CPU")
    add("--frames", type=int, default=20, help="of each engine; default: 20")
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")


def _floor(args: argparse.Namespace, command: str) -> BenchRecord:
    from semla_ros.bench.floor import ENGINES, FloorRequest, run_floor

    engines = tuple(args.engines.split(",")) if args.engines else ENGINES
    request = FloorRequest(args.bundle, args.shapes, engines, args.frames, args.threads)
    return run_floor(request, command=command)


def _fusion_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cases", help="separated by commas; default: all")
    add("--repeats", type=int, default=9, help="of every measurement; default: 9")
    add("--threads", type=int, nargs="+", help="default: 1 and all cores")
    add("--domains", type=int, default=2000, help="of the library; 0: no library, no retrieval")


def _fusion(args: argparse.Namespace, command: str) -> BenchRecord:
    from semla_ros.bench.fusion import run_fusion

    return run_fusion(
        args.cases.split(",") if args.cases else (),
        repeats=args.repeats,
        threads=args.threads or (),
        domains=args.domains,
        command=command,
    )


def _navigator_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved; default: 5")


def _navigator(args: argparse.Namespace, command: str) -> BenchRecord:
    from semla_ros.bench.navigator import run_navigator

    return run_navigator(threads=args.threads, rounds=args.rounds, command=command)


def _masks_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; default: 3")


def _masks(args: argparse.Namespace, command: str) -> BenchRecord:
    from semla_ros.bench.masks import run_masks

    return run_masks(rounds=args.rounds, command=command)


def _proof_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    bundle_argument(parser)
    add("--images", type=int, default=16, help="of the drive, and of --foreign; default: 16")
    add("--foreign", type=Path, help="a folder of other images")
    add("--positions", type=int, default=4, help="of each constant in an adapter; default: 4")


def _proof(args: argparse.Namespace, command: str) -> BenchRecord:
    from semla_ros.bench.proof import run_proof

    return run_proof(
        args.bundle,
        images=args.images,
        foreign=args.foreign,
        positions=args.positions,
        command=command,
    )


_Arguments = Callable[[argparse.ArgumentParser], None]
_Measure = Callable[[argparse.Namespace, str], "BenchRecord"]

_MEASURES: Mapping[str, tuple[str, _Arguments, _Measure]] = {
    "node": ("play frames into the live node over ROS 2", _node_arguments, _node),
    "swap": ("swap adapters, side by side with other ways to do it", _swap_arguments, _swap),
    "soak": ("let the weather change for hours: memory, drift, swaps", _soak_arguments, _soak),
    "floor": ("hold a frame of every engine against the processor", _floor_arguments, _floor),
    "family": ("run a closed network beside its usual ways", family_arguments, family),
    "fusion": ("merge, load and retrieve adapters, beside PEFT", _fusion_arguments, _fusion),
    "navigator": ("embed an image with ViT-L/14", _navigator_arguments, _navigator),
    "masks": ("label at the camera's size", _masks_arguments, _masks),
    "adapters": (
        "train libraries in many ways: tables",
        experiments.adapters_arguments,
        experiments.adapters,
    ),
    "retrieval": (
        "choose mixes in other ways: table",
        experiments.retrieval_arguments,
        experiments.retrieval,
    ),
    "training": (
        "train adapters, beside PEFT",
        experiments.training_arguments,
        experiments.training,
    ),
    "generation": (
        "make adapters for masks from words",
        experiments.generation_arguments,
        experiments.generation,
    ),
    "sg-lora": (
        "SG-LoRA's tables in small",
        experiments.sg_lora_arguments,
        experiments.sg_lora,
    ),
    "proof": ("swap in damaged adapters: which are refused", _proof_arguments, _proof),
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, (text, arguments, _) in _MEASURES.items():
        made = actions.add_parser(action, help=text, description=text)
        made.add_argument("--out", type=Path, required=True, help="the .json to write")
        arguments(made)
    report = actions.add_parser("report", help="make a page of records")
    report.add_argument("records", type=Path, nargs="+", help=".json files of `semla bench`")
    report.add_argument("--out", type=Path, required=True, help="the .md to write")


def _bench(args: argparse.Namespace) -> int:
    from semla_ros.bench.page import write_report
    from semla_ros.bench.record import save_record

    command = "semla " + shlex.join(sys.argv[1:])  # as it is typed again
    if args.action == "report":
        write_report(args.records, args.out, command=command)
    else:
        save_record(_MEASURES[args.action][2](args, command), args.out)
    print(f"wrote {args.out}")
    return 0


VERBS: Mapping[str, Verb] = {
    "bench": Verb("measure node, swaps and memory, and report it", _arguments, _bench),
}
