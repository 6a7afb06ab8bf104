"""`scripts/fault_drill`: break the running node over ROS 2 in every known way.

Exit code 0: every fault met as expected; 1: one was not.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from semla_ros.bench.drill.page import write_page
from semla_ros.bench.drill.run import FAILED, FAULTS, Outcome, chosen, drill, row_of
from semla_ros.bench.drill.scratch import rendered
from semla_ros.bench.drill.session import Session
from semla_ros.bench.record import BenchRecord, machine_facts, save_record
from semla_ros.core.errors import SemlaError
from semla_ros.pipeline.assembly import default_bundle
from semla_ros.processes.drive import require_ros

_LOG = logging.getLogger("semla_ros.bench.drill")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fault_drill", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="NAME", help="this fault; may be repeated")
    add("--list", action="store_true", help="name all faults and end")
    add("--bundle", type=Path, help="default: the demo bundle")
    add("--engine", default="onnx", help="default: onnx")
    add("--out", type=Path, help="write the record there (.json)")
    add("--page", type=Path, help="write the page of the record there (.md)")
    return parser.parse_args(argv)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _tell(outcome: Outcome, number: int, count: int) -> None:
    row = row_of(outcome)
    _say(f"[{number}/{count}] {row['fault']}: {row['verdict']}")
    if outcome.trial is not None:
        _say(f"    published: {row['published']}")
        _say(f"    diagnostics: {row['diagnostics']}; recovered after {row['recovery_s']} s")


def run(args: argparse.Namespace) -> int:
    """Run the faults asked for; return the exit code.

    Raises:
        SemlaError: The drill itself cannot go on.
    """
    faults, machine = chosen(args.only), machine_facts()
    require_ros()
    _say(f"{len(faults)} faults; render the pictures")
    began, groups, outcomes = time.monotonic(), rendered(), []
    with Session(args.bundle or default_bundle(), engine=args.engine, groups=groups) as session:
        for outcome in drill(session, faults):
            outcomes.append(outcome)
            _tell(outcome, len(outcomes), len(faults))
    failed = [each.fault.name for each in outcomes if each.verdict == FAILED]
    _say(f"{len(outcomes) - len(failed)} of {len(outcomes)} as expected" + _named(failed))
    if args.out:
        command = shlex.join(
            ["scripts/fault_drill", *(w for n in args.only for w in ("--only", n))]
        )
        rows = tuple(row_of(each) for each in outcomes)
        took = {"minutes": round((time.monotonic() - began) / 60, 1)}
        record = BenchRecord("Reliability", command, rows, machine=machine, extra=took)
        save_record(record, args.out)
        if args.page:
            write_page(args.out, args.page)
    return 1 if failed else 0


def _named(failed: Sequence[str]) -> str:
    return f"; not: {', '.join(failed)}" if failed else ""


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the drill; return the exit code."""
    args = _arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if args.list:
        for fault in FAULTS:
            _say(f"{fault.name}: {fault.does}")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)  # what runs is ended all the same
    try:
        return run(args)
    except SemlaError as error:
        _LOG.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
