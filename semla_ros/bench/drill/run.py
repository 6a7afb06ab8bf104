"""Carries out faults one by one and says of each what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from semla_ros.bench.drill.bundle_faults import BUNDLES
from semla_ros.bench.drill.camera_faults import BROKEN, STAMPS
from semla_ros.bench.drill.fault import Fault
from semla_ros.bench.drill.heard import LEVELS, OK, WARN, Diagnosed
from semla_ros.bench.drill.library_faults import DAMAGED
from semla_ros.bench.drill.machine_faults import MACHINE
from semla_ros.bench.drill.part_faults import PARTS
from semla_ros.bench.drill.session import START_S, Session
from semla_ros.bench.drill.trial import (
    Reference,
    Trial,
    diagnostics,
    lies,
    published,
    recovery_s,
    references,
    wrong_masks,
)
from semla_ros.bench.drill.verdicts import problems
from semla_ros.bench.record import Row
from semla_ros.core.errors import ConfigError, SemlaError

FAULTS: tuple[Fault, ...] = (*BROKEN, *STAMPS, *MACHINE, *DAMAGED, *PARTS, *BUNDLES)
RECOVERY_S = 45.0
"""Shares are told of the last 30 s, so they need as long to fall."""
PASSED, FAILED, SKIPPED = "as expected", "FAILED", "skipped"

_LOG = logging.getLogger(__name__)
_CALM = {"node": WARN, "image": OK, "inference": WARN, "adapters": WARN, "support": OK}
"""Parts of the diagnostics, and how bad each may be before a fault."""

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one fault; `trial` is None where it could not be tried."""

    fault: Fault
    trial: Trial | None
    problems: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """One of `PASSED`, `FAILED` and `SKIPPED`."""
        return SKIPPED if self.skipped else FAILED if self.problems else PASSED


def chosen(names: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults of these names, all for none, those of one setup together.

    Raises:
        ConfigError: There is none of such a name.
    """
    known = {fault.name: fault for fault in FAULTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"expected faults of {sorted(known)!r}, got {unknown!r}")
    wanted = [known[name] for name in names or known]
    order = {setup: i for i, setup in enumerate(dict.fromkeys(f.setup.name for f in wanted))}
    return tuple(sorted(wanted, key=lambda fault: order[fault.setup.name]))


def drill(session: Session, faults: Sequence[Fault]) -> Iterator[Outcome]:
    """Yield what comes of each fault, in order; the node starts anew after one that failed."""
    clean, known = False, dict[Reference, int]()
    for fault in faults:
        setup = session.setup
        try:
            if setup is None or setup.name != fault.setup.name or not clean:
                session.start(fault.setup)
                known = {}
            trial = _tried(session, fault, known)
        except SemlaError as error:
            clean = False
            reason = f"{error}" + (f"; the node says: {said}" if (said := session.said()) else "")
            yield Outcome(fault, None, () if _may_skip(error) else (reason,), _may_skip(error))
            continue
        found = tuple(problems(trial, fault.expects))
        clean, known = not found, references(trial)
        yield Outcome(fault, trial, found)


def _may_skip(error: SemlaError) -> str:
    return str(error) if "needs root" in str(error) else ""


def _tried(session: Session, fault: Fault, known: Mapping[Reference, int]) -> Trial:
    session.forget()
    before = _healthy(session)
    begin = time.monotonic_ns()
    with contextmanager(fault.script)(session):
        time.sleep(fault.seconds)
    end = session.ended_ns or time.monotonic_ns()
    session.camera()
    trial = Trial(
        session.heard(),
        begin,
        end,
        end,
        before,
        stamps_usable=fault.stamps_usable,
        known=known,
    )
    limit = RECOVERY_S + (START_S if session.replaced else 0.0)
    while True:
        heard, until = session.heard(), time.monotonic_ns()
        trial = replace(trial, heard=heard, until=until)
        if recovery_s(trial) is not None or (until - end) * 1e-9 > limit:
            break
        time.sleep(_LOOK_S)
    answers, facts = dict(session.answers), dict(session.facts)
    return replace(trial, ended=session.ended, answers=answers, facts=facts)


def _healthy(session: Session) -> dict[str, Diagnosed]:
    """Wait until a good camera gets masks, support and calm diagnostics; return these.

    Raises:
        SemlaError: Not in time.
    """
    session.camera()
    asked, end = time.monotonic_ns(), time.monotonic() + START_S
    while time.monotonic() < end and session.alive:
        heard = session.heard()
        last = heard.last()
        trial = Trial(heard, asked, asked, time.monotonic_ns(), last)
        well = set(_CALM) <= set(last) and all(last[p].level <= n for p, n in _CALM.items())
        if well and recovery_s(trial) is not None:
            return last
        time.sleep(_LOOK_S)
    told = "; ".join(
        f"{p} {LEVELS[d.level]}: {d.message}" for p, d in session.heard().last().items()
    )
    raise SemlaError(f"expected a node that serves within {START_S:g} s, got {told or 'silence'}")


def row_of(outcome: Outcome) -> Row:
    """Return the row of the table."""
    fault, trial = outcome.fault, outcome.trial
    row: dict[str, str | int | float | None] = {"fault": fault.name, "does": fault.does}
    if trial is not None:
        recovered = recovery_s(trial)
        row |= {
            "published": published(trial),
            "wrong_masks": len(wrong_masks(trial)),
            "old_called_fresh": len(lies(trial)),
            "diagnostics": diagnostics(trial),
            "recovery_s": None if recovered is None else round(recovered, 1),
        }
    said = outcome.skipped or "; ".join(outcome.problems)
    return row | {
        "expected": "; ".join(each.text for each in fault.expects),
        "verdict": outcome.verdict + (f": {said}" if said else ""),
        "human": fault.human,
    }
