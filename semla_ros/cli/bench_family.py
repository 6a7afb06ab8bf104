"""`semla bench family`: a network with a closed class list beside its usual ways."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.cli.verb import size_argument

if TYPE_CHECKING:
    from semla_ros.bench.record import BenchRecord

_SHAPES = ("segformer-b0", "segformer-b2", "eomt-s")


def family_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which network, and how it is measured."""
    add, size = parser.add_argument, size_argument
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--bundle", type=Path, help="one with a closed class list")
    given.add_argument("--shape", choices=_SHAPES, default="", help="of random weights")
    add("--size", type=size, default=(480, 640), metavar="HEIGHTxWIDTH", help="of --shape")
    add("--checkpoint", type=Path, help="of --bundle, to run transformers as it is beside")
    add("--engines", help="NAME or NAME:PRECISION, separated by commas; default: all on the CPU")
    add("--frames", type=int, default=20, help="of each way; default: 20")
    add("--threads", type=int, default=0, help="CPU threads; default: all cores but one")
    add("--node", type=float, default=0.0, metavar="S", help="run the live node, too, S s a run")


def family(args: argparse.Namespace, command: str) -> BenchRecord:
    """Return the record."""
    from semla_ros.bench.family import ENGINES, FamilyRequest, run_family

    request = FamilyRequest(
        args.bundle,
        args.checkpoint,
        tuple(args.engines.split(",")) if args.engines else ENGINES,
        args.frames,
        args.threads,
        shape=args.shape,
        size=args.size,
        node_seconds=args.node,
    )
    return run_family(request, command=command)
