"""What of `semla bench` needs training: experiments on adapters and on their choice."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli.verb import bundle_argument
from semla_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from semla_ros.bench.record import BenchRecord


@contextmanager
def _installed() -> Iterator[None]:
    """Say how to get what an import finds missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"it needs {error.name!r}: pip install '.[train]'") from error


def adapters_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `adapters`."""
    add = parser.add_argument
    bundle_argument(parser)
    add("--work", type=Path, required=True, help="frames, runs and scores are kept here")
    add("--tables", help="separated by commas; default: all")
    add("--domains", help="of the demo world, separated by commas; default: all")
    add("--seeds", type=int, default=3, help="libraries of each row; default: 3")
    add("--train", type=int, default=240, help="frames of each domain; default: 240")
    add("--test", type=int, default=30, help="frames of each domain; default: 30")
    add("--steps", type=int, default=0, help="of training; default: the bundle's recipes")
    add("--jobs", type=int, default=1, help="domains trained side by side; default: 1")


def adapters(args: argparse.Namespace, command: str) -> BenchRecord:
    """Return the record of `adapters`."""
    from semla_ros.pipeline import default_bundle

    with _installed():
        from semla_ros.bench.adapter_bench import AdapterBenchRequest, run_adapters
        from semla_ros.bench.adapter_rows import TABLES
        from semla_ros.demo.world import DOMAINS
    request = AdapterBenchRequest(
        args.bundle or default_bundle(),
        args.work,
        tuple(args.tables.split(",")) if args.tables else tuple(TABLES),
        args.seeds,
        tuple(args.domains.split(",")) if args.domains else DOMAINS,
        args.train,
        args.test,
        args.steps,
        args.jobs,
    )
    return run_adapters(request, command=command, say=print)


def retrieval_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `retrieval`."""
    bundle_argument(parser)
    parser.add_argument("--scenes", type=int, default=30, help="of a domain in a set; default: 30")
    parser.add_argument("--sets", type=int, default=3, help="of scenes; default: 3")
    parser.add_argument(
        "--domains", help="that the library holds, separated by commas; default: all"
    )


def retrieval(args: argparse.Namespace, command: str) -> BenchRecord:
    """Return the record of `retrieval`."""
    from semla_ros.demo.world import DOMAINS

    with _installed():
        from semla_ros.bench.retrieval import RetrievalRequest, run_retrieval
    domains = tuple(args.domains.split(",")) if args.domains else DOMAINS
    request = RetrievalRequest(args.bundle, args.scenes, args.sets, domains)
    return run_retrieval(request, command=command)


def training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `training`."""
    bundle_argument(parser)
    parser.add_argument("--steps", type=int, default=20, help="interleaved; default: 20")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; default: all given")


def training(args: argparse.Namespace, command: str) -> BenchRecord:
    """Return the record of `training`."""
    from semla_ros.pipeline import default_bundle

    with _installed():
        from semla_ros.bench.training import run_training
    bundle = args.bundle or default_bundle()
    return run_training(bundle, steps=args.steps, thread_count=args.threads, command=command)


def _kept_arguments(parser: argparse.ArgumentParser) -> None:
    bundle_argument(parser)
    text = "what was made and found is kept here"
    parser.add_argument("--work", type=Path, required=True, help=text)


def sg_lora_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sg-lora`."""
    _kept_arguments(parser)
    add = parser.add_argument
    add("--seeds", type=int, default=3, help="each keeps other tasks back; default: 3")
    add("--epochs", type=int, default=20, help="of every adapter; default: 20")


def sg_lora(args: argparse.Namespace, command: str) -> BenchRecord:
    """Return the record of `sg-lora`."""
    from semla_ros.pipeline import default_bundle

    with _installed():
        from semla_ros.bench.generation.sg_lora_bench import SgLoraRequest, run_sg_lora
    bundle = args.bundle or default_bundle()
    request = SgLoraRequest(bundle, args.work, args.seeds, args.epochs)
    return run_sg_lora(request, command=command, say=print)


def generation_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `generation`."""
    _kept_arguments(parser)
    add = parser.add_argument
    add("--tables", help="words, ladder, or both: words,ladder; default: both")
    add("--sets", type=int, default=3, help="disjoint sets of test scenes; default: 3")
    add("--seeds", type=int, default=3, help="libraries trained for the ladder; default: 3")
    add("--train", type=int, default=240, help="scenes of each domain; default: 240")
    add("--test", type=int, default=30, help="scenes of each domain; default: 30")
    add("--steps", type=int, default=0, help="of training; default: the bundle's recipe")


def generation(args: argparse.Namespace, command: str) -> BenchRecord:
    """Return the record of `generation`."""
    from semla_ros.pipeline import default_bundle

    with _installed():
        from semla_ros.bench.generation.masks_bench import (
            TABLES,
            GenerationRequest,
            run_generation,
        )
    request = GenerationRequest(
        args.bundle or default_bundle(),
        args.work,
        tuple(args.tables.split(",")) if args.tables else TABLES,
        args.sets,
        args.seeds,
        args.train,
        args.test,
        args.steps,
    )
    return run_generation(request, command=command, say=print)
