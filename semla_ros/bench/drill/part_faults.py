"""Faults of the node's own parts, and orders that come at a bad time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

from semla_ros.bench.drill.fault import SWITCHES, Fault, Script
from semla_ros.bench.drill.heard import ERROR
from semla_ros.bench.drill.library_faults import OTHER
from semla_ros.bench.drill.session import Session
from semla_ros.bench.drill.verdicts import (
    Expectation,
    answers,
    either,
    goes_on,
    goes_stale,
    sees,
    silent,
    tells,
)

STEPS = ("read", "text", "merge", "prepare", "commit")


def broken(point: str, how: str, **script: object) -> Script:
    """Return the script that lets one of the node's parts `raise` or `hang`."""

    def play(session: Session) -> Iterator[None]:
        session.switch(point, how)
        session.camera(**script)
        yield
        session.switch(point, "")

    return play


def steps_fail(session: Session) -> Iterator[None]:
    """Let each step of a swap fail in turn, then none."""
    for step in STEPS:
        session.switch(step, "raise")
        session.order(f"pin, {step} fails", "select_adapters", mode=1, names=[OTHER])
        session.switch(step, "")
        session.order("reload", "reload_library")
    session.order("pin, nothing fails", "select_adapters", mode=1, names=[OTHER])
    yield
    session.order("follow", "select_adapters", mode=0)


def killed(session: Session) -> Iterator[None]:
    """Kill the node in the middle of a swap and start it again."""
    session.switch("merge", "hang")
    session.order("pin", "select_adapters", timeout_s=1.0, mode=1, names=[OTHER])
    session.signal_node(signal.SIGKILL)
    session.switch("merge", "")
    yield
    session.start_node()


def told_to_end(point: str, number: signal.Signals) -> Script:
    """Return the script that signals a node one of whose parts hangs, and starts it again."""

    def play(session: Session) -> Iterator[None]:
        session.switch(point, "hang")
        time.sleep(1.5)
        ends = session.signal_node(number)
        session.facts["ends"] = "yes" if ends else "no"
        session.switch(point, "")
        yield
        session.start_node()

    return play


def refused_order(session: Session) -> Iterator[None]:
    """Give orders that the node's deactivation refuses, and look whether they are done later."""
    names = list(session.heard().labels[-1].names)
    session.switch("merge", "hang")
    other = ["road", "sky"]
    session.order("asked in time", "set_vocabulary", timeout_s=1.0, class_names=other)
    session.order("deactivate", "change_state", label="deactivate")
    session.order("asked too late", "set_vocabulary", class_names=other)
    yield
    session.switch("merge", "")
    session.order("activate", "change_state", label="activate")
    heard = session.heard()
    first = next((a for a in heard.answers if a.service == "set_vocabulary"), None)
    if first is not None:
        session.answers["asked in time"] = first
    time.sleep(4.0)
    same = session.heard().labels[-1].names == names
    session.facts["class list"] = "as before" if same else "the refused one"


def misspelt(session: Session) -> Iterator[None]:
    """Exclude an adapter whose name is misspelt."""
    session.order("misspelt exclude", "set_parameters", exclude="fog-nihgt")
    yield
    session.order("exclude", "set_parameters", exclude="")


_NAVIGATOR = tells(words=("navigator", "embed"))
_STOPS = (goes_stale(), silent(), tells("inference", least=ERROR))
_REPORT = "report it, with the node's log: this is a defect of the node or its engine"
_FAILED = tuple(answers(f"pin, {s} fails", success=False) for s in STEPS)


def _part(
    name: str,
    does: str,
    script: Script,
    expects: tuple[Expectation, ...],
    seconds: float = 4.0,
    human: str = _REPORT,
) -> Fault:
    return Fault(name, does, script, expects, SWITCHES, seconds, human)


PARTS = (
    _part(
        "navigator raises",
        "the navigator raises on every image, then of pure noise",
        broken("navigator", "raise", pictures=["clear-day", "noise"], turn_s=4.0),
        (goes_on(), goes_stale(6.0), _NAVIGATOR),
        seconds=9.0,
    ),
    _part(
        "navigator hangs",
        "the navigator hangs, then the camera shows pure noise",
        broken("navigator", "hang", pictures=["clear-day", "noise"], turn_s=4.0),
        (goes_on(), goes_stale(6.0), _NAVIGATOR),
        seconds=12.0,
    ),
    _part(
        "inference raises", "the network raises on every image", broken("infer", "raise"), _STOPS
    ),
    _part(
        "inference hangs",
        "the network hangs in one image",
        broken("infer", "hang"),
        (goes_stale(), silent(), tells("inference", least=ERROR, words=("hang", "hung"))),
        seconds=10.0,
    ),
    _part(
        "worker raises",
        "the frame loop raises what nobody expects",
        broken("step", "raise"),
        _STOPS,
    ),
    _part(
        "swap fails at each step",
        f"an adapter is pinned while {', '.join(STEPS)} fail one by one",
        steps_fail,
        (goes_on(), tells("adapters"), *_FAILED, answers("pin, nothing fails", success=True)),
    ),
    _part(
        "refused orders",
        "a class list is ordered before and after a deactivation, then the node is activated",
        refused_order,
        (
            answers("asked in time", success=False),
            answers("asked too late", success=False),
            answers("activate", success=True),
            sees("class list", "as before", "refused means gone"),
        ),
        human="order again once the node is active",
    ),
    _part(
        "misspelt exclude",
        "the parameter `exclude` names no adapter",
        misspelt,
        (
            either(
                answers("misspelt exclude", success=False),
                tells("adapters", words=("fog-nihgt",)),
                text="refused, or said in diagnostics",
            ),
            goes_on(),
        ),
        human="spell the name as the library does",
    ),
    _part(
        "hung navigator, SIGTERM",
        "the navigator hangs and the node is told to end by SIGTERM",
        told_to_end("navigator", signal.SIGTERM),
        (sees("ends", "yes", "ends within 25 s"),),
        human="",
    ),
    _part(
        "hung inference, SIGINT",
        "the network hangs and the node is told to end by SIGINT",
        told_to_end("infer", signal.SIGINT),
        (sees("ends", "yes", "ends within 25 s"),),
        human="",
    ),
    _part(
        "kill -9 during a swap",
        "the node is killed in the middle of a swap and started again",
        killed,
        (silent(),),
        human="nothing, where a supervisor (launch, systemd) starts it again",
    ),
)
