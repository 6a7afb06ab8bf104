"""What the probe sent and heard (`semla_ros.bench.drill.probe`), read from its file; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

OK, WARN, ERROR, STALE = range(4)
LEVELS = ("OK", "WARN", "ERROR", "STALE")
SERVING = ("OK", "LOW")
"""Support levels on which a planner may act."""


class Sent(NamedTuple):
    """An image that was published; `broken` is empty for a good one."""

    at: int
    stamp: int
    group: str
    number: int
    height: int
    width: int
    broken: str

    @property
    def picture(self) -> tuple[str, int, int, int]:
        """What equal images have in common."""
        return self.group, self.number, self.height, self.width


class Mask(NamedTuple):
    """A mask; `check` is a checksum of its pixels, `share` that of its commonest class."""

    at: int
    stamp: int
    height: int
    width: int
    check: int
    share: float


class Support(NamedTuple):
    """A support message; `stamp` and `observed` in ns."""

    at: int
    stamp: int
    level: str
    observed: int
    mix: str


class Swap(NamedTuple):
    """An attempt to change the adapters."""

    at: int
    to: str
    committed: bool
    reason: str
    error: str


class Labels(NamedTuple):
    """A class list."""

    at: int
    names: list[str]


class Answer(NamedTuple):
    """What a service answered."""

    at: int
    service: str
    success: bool | None
    message: str


class Diagnosed(NamedTuple):
    """One status of one part of a node: `/segmenter: image`."""

    at: int
    name: str
    level: int
    message: str
    facts: Mapping[str, str]

    @property
    def part(self) -> str:
        """Which part of the node: image, inference, adapters, support or node."""
        return self.name.rpartition(": ")[2]


_KINDS: Mapping[str, tuple[str, type[Any]]] = {
    "sent": ("sent", Sent),
    "mask": ("masks", Mask),
    "support": ("supports", Support),
    "swap": ("swaps", Swap),
    "labels": ("labels", Labels),
    "answer": ("answers", Answer),
    "diagnosed": ("diagnosed", Diagnosed),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything in the order of arrival; times in ns of the system's steady clock."""

    sent: tuple[Sent, ...] = ()
    masks: tuple[Mask, ...] = ()
    supports: tuple[Support, ...] = ()
    swaps: tuple[Swap, ...] = ()
    labels: tuple[Labels, ...] = ()
    answers: tuple[Answer, ...] = ()
    diagnosed: tuple[Diagnosed, ...] = ()

    def plus(self, later: Heard) -> Heard:
        """Return this and then what was heard `later`."""
        return Heard(
            **{f.name: (*getattr(self, f.name), *getattr(later, f.name)) for f in fields(self)}
        )

    def between(self, begin: int, end: int) -> Heard:
        """Return what happened in [begin, end)."""
        cut = {
            f.name: tuple(e for e in getattr(self, f.name) if begin <= e.at < end)
            for f in fields(self)
        }
        return replace(self, **cut)

    def of_node(self, name: str) -> Heard:
        """Return the same with the diagnostics of one node alone."""
        own = tuple(d for d in self.diagnosed if d.name.startswith(f"{name}: "))
        return replace(self, diagnosed=own)

    def last(self) -> dict[str, Diagnosed]:
        """Return part -> its newest status."""
        return {each.part: each for each in self.diagnosed}


def heard_of(lines: Iterable[str]) -> Heard:
    """Return what the probe's `lines` say; a last line that is not whole yet is left out."""
    found: dict[str, list[Any]] = {name: [] for name, _ in _KINDS.values()}
    for line in lines:
        if not line.endswith("\n"):
            break
        kind, *values = json.loads(line)
        name, event = _KINDS[kind]
        found[name].append(event(*values))
    return Heard(**{name: tuple(events) for name, events in found.items()})
