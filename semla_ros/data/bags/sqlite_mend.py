"""Reading a sqlite3 recording that was cut off or is damaged inside, row by row.

rosbags counts all messages when it opens a database and so refuses a damaged one. This reader
asks for nothing but the rows in the order they were written, and the first unreadable page ends
it.

Source: rosbag2_storage_sqlite3's tables `topics` and `messages`; sqlite.org/pragma.html,
`writable_schema` (with it SQLite opens a file that is shorter than its header says).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)

from semla_ros.core.errors import BagError
from semla_ros.data.bags.sqlite_guard import STEPS, StepBudget, check_schema


class MendedSqlite:
    """The readable rows of a damaged `.db3`; looks like rosbags' readers as far as needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self.connections: list[Connection] = []

    def open(self) -> None:
        """Read the topics.

        Raises:
            BagError: Not even those are there.
        """
        uri = f"{self._path.resolve().as_uri()}?immutable=1"
        database = sqlite3.connect(uri, uri=True)
        try:
            database.set_progress_handler(StepBudget(self._path.stat().st_size), STEPS)
            database.execute("PRAGMA writable_schema=ON")
            check_schema(lambda sql: database.execute(sql).fetchall())
            rows = database.execute("SELECT id, name, type FROM topics").fetchall()
        except BagError:
            database.close()
            raise
        except sqlite3.Error as error:
            database.close()
            raise BagError(f"database cannot be read: {error}") from error
        self._database = database
        counts = dict.fromkeys((int(r[0]) for r in rows), 0)
        for topic, _, _ in self._rows("topic_id, timestamp, 0"):
            counts[topic] = counts.get(topic, 0) + 1
        nothing = MessageDefinition(MessageDefinitionFormat.NONE, "")
        self.connections = [
            Connection(
                int(key),
                str(name),
                str(kind),
                nothing,
                "",
                counts[int(key)],
                ConnectionExtRosbag2("cdr", []),
                self,
            )
            for key, name, kind in rows
        ]

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()

    def messages(
        self, connections: Collection[Connection]
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, time of recording, data) in the order of writing."""
        wanted = {c.id: c for c in connections}
        for topic, stamp_ns, data in self._rows("topic_id, timestamp, data"):
            if topic in wanted:
                yield wanted[topic], int(stamp_ns), data

    def _rows(self, columns: str) -> Iterator[tuple[int, int, bytes]]:
        """Yield the readable rows of `messages`; the first damaged page ends them."""
        if self._database is None:
            return
        cursor = self._database.execute(f"SELECT {columns} FROM messages NOT INDEXED")
        while True:
            try:
                row = cursor.fetchone()
            except sqlite3.Error:
                return
            if row is None:
                return
            yield row
