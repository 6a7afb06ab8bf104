"""What a fault is, and the nodes and cameras that most of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from semla_ros.bench.drill.session import Session, Setup
from semla_ros.bench.drill.verdicts import Expectation

Script = Callable[[Session], Iterator[None]]

PLAIN = Setup("plain")
SMALL = Setup("small memory", {"library_memory_mib": 1})
SWITCHES = Setup("switches", switches=True)
TURNS: Mapping[str, Any] = MappingProxyType(
    {"pictures": ["fog-night", "clear-day"], "turn_s": 8.0}
)
"""A scene that changes, so that a navigator that works swaps."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the drill.

    Attributes:
        name: Short, to be given to `--only`.
        does: What is done to the node, in words.
        script: Brings the fault about up to its `yield`, takes it away after it.
        expects: Beside `verdicts.ALWAYS`.
        setup: The node it is done to.
        seconds: How long it lasts.
        human: What a person has to do about it on a robot; empty: nothing.
        stamps_usable: Whether the camera's stamps tell its images apart meanwhile.
    """

    name: str
    does: str
    script: Script
    expects: tuple[Expectation, ...]
    setup: Setup = PLAIN
    seconds: float = 4.0
    human: str = ""
    stamps_usable: bool = True


def camera(**script: Any) -> Script:  # noqa: ANN401  JSON for the probe
    """Return the script of a camera that sends so."""

    def play(session: Session) -> Iterator[None]:
        session.camera(**script)
        yield

    return play
