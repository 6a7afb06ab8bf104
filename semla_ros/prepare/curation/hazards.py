"""Adapters known to have learnt class names that mean something else: a table to add to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class ClassHazard:
    """Why an adapter must not be trusted with a class.

    Attributes:
        adapters: Patterns of adapter names, lower case.
        classes: Class names concerned, lower case.
        reason: What is wrong, where it comes from, what to do.
    """

    adapters: tuple[str, ...]
    classes: tuple[str, ...]
    reason: str


HAZARDS = (
    ClassHazard(
        adapters=("idd", "idd-*", "idd_*"),
        classes=("person", "pedestrian", "people", "human", "human being"),
        reason=(
            "SemLA's IDD adapter learnt pedestrians under the name 'animal' (level 3 id 4 merges "
            "both): it can take pixels away from this class; measure its IoU with and without, "
            "or exclude the adapter"
        ),
    ),
)


def hazards_of(adapter: str, classes: Sequence[str]) -> tuple[tuple[str, ClassHazard], ...]:
    """Return (class name, hazard) for each of `classes` that `adapter` is known to confuse.

    Args:
        adapter: The adapter's name.
        classes: A class list; `person, pedestrian` is one class with two names.
    """
    return tuple(
        (name, hazard)
        for hazard in HAZARDS
        if any(fnmatchcase(adapter.lower(), pattern) for pattern in hazard.adapters)
        for name in classes
        if {word.strip().lower() for word in name.split(",")} & set(hazard.classes)
    )
