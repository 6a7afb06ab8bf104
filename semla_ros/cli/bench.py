"""`semla bench`: measuring, and the page of what was measured."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from semla_ros.cli.verb import Verb, bundle_argument, engine_arguments, node_changes
from semla_ros.errors import ConfigError

_RATES = "5,10,30,peak"


def _node_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, help="the .json to write")
    add("--rates", default=_RATES, help=f"Hz, and `peak`; default: {_RATES}")
    add("--seconds", type=float, default=10.0, help="length of a run; default: 10")
    add("--repeats", type=int, default=3, help="of every run; default: 3")
    add("--transport", default="raw", help="raw, compressed or both: raw,compressed")
    add("--executor", default="single", help="single, multi, events or several of them")
    add("--middleware", default="shm", help="shm, default, large_data or several of them")
    add("--loss", type=float, default=0.01, help="frames that may be lost at peak; default: 0.01")
    add("--input", type=Path, help="images or recording to play; default: the demo world")
    engine_arguments(parser)


def _node(args: argparse.Namespace) -> Path:
    import tempfile

    from semla_ros.bench.node_bench import NodeBenchRequest, run_node_bench
    from semla_ros.bench.node_record import node_record
    from semla_ros.bench.processes import setups_of
    from semla_ros.bench.record import save_record

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
    save_record(node_record(request, bench, command=_command()), args.out)
    return Path(args.out)


def _rate(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise ConfigError(f"expected --rates of numbers and 'peak', got {word!r}") from error


def _swap_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    bundle_argument(parser)
    add("--out", type=Path, required=True, help="the .json to write")
    add("--shapes", choices=("bundle", "vit-b"), default="bundle", help="vit-b: random weights")
    add("--rounds", type=int, default=5, help="interleaved; default: 5")
    add("--frames", type=int, default=30, help="without, and with swaps, a round; default: 30")
    add("--only", help="candidates, separated by commas; default: all")
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")


def _swap(args: argparse.Namespace) -> Path:
    from semla_ros.bench.record import save_record
    from semla_ros.bench.swap_run import SwapRequest, run_swaps

    request = SwapRequest(
        bundle=args.bundle,
        shapes=args.shapes,
        rounds=args.rounds,
        frames=args.frames,
        keys=tuple(args.only.split(",")) if args.only else (),
        threads=args.threads,
    )
    save_record(run_swaps(request, command=_command()), args.out)
    return Path(args.out)


def _soak_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, help="the .json to write")
    add("--frames", type=int, default=0, help="how many; or --minutes")
    add("--minutes", type=float, default=0.0, help="how long; or --frames")
    add("--probes", type=int, default=20, help="how often A, B, A is tried; default: 20")
    engine_arguments(parser)


def _soak(args: argparse.Namespace) -> Path:
    from semla_ros.bench.record import save_record
    from semla_ros.bench.soak import SoakRequest, run_soak
    from semla_ros.bench.soak_record import soak_record

    request = SoakRequest(
        frames=args.frames, minutes=args.minutes, probes=args.probes, changes=node_changes(args)
    )
    save_record(soak_record(request, run_soak(request), command=_command()), args.out)
    return Path(args.out)


def _floor_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    bundle_argument(parser)
    add("--out", type=Path, required=True, help="the .json to write")
    add("--shapes", choices=("bundle", "vit-b"), default="bundle", help="vit-b: random weights")
    add("--engines", help="NAME or NAME:PRECISION, separated by commas; default: all on the CPU")
    add("--frames", type=int, default=20, help="of each engine; default: 20")
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")


def _floor(args: argparse.Namespace) -> Path:
    from semla_ros.bench.floor import ENGINES, FloorRequest, run_floor
    from semla_ros.bench.record import save_record

    request = FloorRequest(
        bundle=args.bundle,
        shapes=args.shapes,
        engines=tuple(args.engines.split(",")) if args.engines else ENGINES,
        frames=args.frames,
        threads=args.threads,
    )
    save_record(run_floor(request, command=_command()), args.out)
    return Path(args.out)


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", type=Path, nargs="+", help=".json files of `semla bench`")
    parser.add_argument("--out", type=Path, required=True, help="the .md to write")


def _report(args: argparse.Namespace) -> Path:
    from semla_ros.bench.page import write_report

    write_report(args.records, args.out, command=_command())
    return Path(args.out)


def _command() -> str:
    """Return this command line, as it is typed again."""
    return "semla " + shlex.join(sys.argv[1:])


_ACTIONS = {
    "node": ("play frames into the live node over ROS 2", _node_arguments, _node),
    "swap": ("swap adapters, side by side with other ways to do it", _swap_arguments, _swap),
    "soak": ("let the weather change for hours: memory, drift, swaps", _soak_arguments, _soak),
    "floor": ("hold a frame of every engine against the processor", _floor_arguments, _floor),
    "report": ("make a page of records", _report_arguments, _report),
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, (text, arguments, _) in _ACTIONS.items():
        arguments(actions.add_parser(action, help=text, description=text))


def _bench(args: argparse.Namespace) -> int:
    path = _ACTIONS[args.action][2](args)
    print(f"wrote {path}")
    return 0


VERBS: Mapping[str, Verb] = {
    "bench": Verb("measure node, swaps and memory, and report it", _arguments, _bench),
}
