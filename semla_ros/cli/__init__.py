"""The `semla` command: parses, calls one function, prints; a SemlaError becomes one line.

Each file beside this one holds the verbs of one concern. Verbs import what they need when they
run, so `semla --help` needs neither torch nor rclpy.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from semla_ros import __version__
from semla_ros.cli import (
    bench,
    bundle,
    drive,
    engine,
    evaluate,
    generate,
    library,
    live,
    loop,
    nav2,
    replay,
    report,
    segment,
    train,
)
from semla_ros.cli.verb import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED, Verb
from semla_ros.core.errors import SemlaError
from semla_ros.core.shown import shown

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the node, see `semla_ros.nodes`
_GROUPS = (
    drive,
    replay,
    evaluate,
    report,
    loop,
    live,
    segment,
    bundle,
    library,
    generate,
    nav2,
    engine,
    train,
    bench,
)
VERBS: Mapping[str, Verb] = {name: verb for group in _GROUPS for name, verb in group.VERBS.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `semla` command and return its exit code: 0, 1 for "no", 2 for an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # names that are no UTF-8; as stderr does
    args = parser().parse_args(argv)
    level = logging.INFO if args.verbose else logging.WARNING
    logging.basicConfig(level=level, format="semla: %(levelname)s: %(message)s")
    try:
        with _terminable():
            return VERBS[args.verb].run(args)
    except SemlaError as error:
        print(f"semla: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except _Terminated:
        print("semla: terminated", file=sys.stderr)
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        print("semla: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:  # a path that no file can have, a disk that goes away
        print(f"semla: error: {shown(error)}", file=sys.stderr)
        return EXIT_ERROR


class _Terminated(KeyboardInterrupt):
    """SIGTERM; it ends a command as Ctrl-C does: children stop, what is done is kept."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `_Terminated` inside on SIGTERM, for which Python itself would leave nothing done."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    """Return what parses every `semla` command."""
    semla = argparse.ArgumentParser(
        prog="semla",
        description="Open-vocabulary segmentation that hot-loads adapters as the world changes.",
    )
    semla.add_argument("--version", action="version", version=f"semla {__version__}")
    semla.add_argument("-v", "--verbose", action="store_true", help="say more on the way")
    verbs = semla.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        verb.arguments(verbs.add_parser(name, help=verb.help, description=verb.help))
    return semla
