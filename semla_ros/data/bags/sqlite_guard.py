"""Bounds on what reading a sqlite3 recording costs: SQLite runs what a database's schema says.

A view, a trigger or a computed column is a program, and pages that refer to each other make a
few kilobytes an endless table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from semla_ros.core.errors import BagError

MAX_VALUE_BYTES = 1 << 28
STEPS = 1_000_000
_FREE_STEPS, _STEPS_PER_BYTE = 50_000_000, 100
_TABLES = ("topics", "messages", "schema", "message_definitions", "metadata")


@contextmanager
def guarded_sqlite(size: int) -> Iterator[None]:
    """Make connections that apsw opens inside of the context answer to bounds for good.

    Args:
        size: Of the database, in bytes.
    """

    def guard(connection: apsw.Connection) -> None:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.set_progress_handler(StepBudget(size), STEPS)
        check_schema(lambda sql: connection.execute(sql).fetchall())

    hooks: list[Callable[[apsw.Connection], None]] = apsw.connection_hooks
    hooks.append(guard)
    try:
        yield
    finally:
        hooks.remove(guard)


class StepBudget:
    """SQLite's progress handler: true, which ends the statement, once too much was done."""

    def __init__(self, size: int) -> None:
        """Begin with what reading a database of `size` bytes may cost."""
        self._left = (_FREE_STEPS + _STEPS_PER_BYTE * size) // STEPS

    def __call__(self) -> bool:
        """Count down; called every `STEPS` steps of SQLite's machine."""
        self._left -= 1
        return self._left < 0


def check_schema(query: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """Refuse a database whose schema holds more than plain tables and indexes.

    Args:
        query: Runs a statement and returns its rows.

    Raises:
        BagError: It does.
    """
    for kind, name, sql in query("SELECT type, name, sql FROM sqlite_master"):
        words = str(sql or "").upper()
        if kind not in ("table", "index") or words.startswith("CREATE VIRTUAL"):
            raise BagError(f"expected plain tables, got the {kind} {str(name)[:80]!r}: refused")
    for table in _TABLES:
        if any(row[-1] for row in query(f"PRAGMA table_xinfo({table})")):
            raise BagError(f"expected plain columns in {table!r}, got computed ones: refused")
