"""The engines that a benchmark was asked for, as far as they work here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from semla_ros.bundle import ModelBundle
from semla_ros.core.engines import AUTO
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.engine import SegmentationEngine, create_engine


def open_engines(
    names: Sequence[str], bundle: ModelBundle, *, threads: int, stack: ExitStack
) -> tuple[dict[str, SegmentationEngine], list[str]]:
    """Return the engines by `name` or `name:precision`, and why others are not there.

    Args:
        names: What was asked for.
        bundle: The model.
        threads: CPU threads; 0: all cores but one.
        stack: Closes them.
    """
    opened: dict[str, SegmentationEngine] = {}
    notes: list[str] = []
    for text in names:
        name, _, precision = text.partition(":")
        try:
            engine = create_engine(name, bundle, threads=threads, precision=precision or AUTO)
        except EngineUnavailableError as error:
            notes.append(f"Left out {text}: {error}")
            continue
        opened[text] = stack.enter_context(engine)
    return opened, notes
