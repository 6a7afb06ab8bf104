"""docs/reliability.md, made from the record of a drill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semla_ros.bench.page import markdown_table
from semla_ros.bench.record import BenchRecord, Row, read_record
from semla_ros.evaluation.files import write_file

_OUTCOME = {
    "fault": "fault",
    "published": "published meanwhile",
    "wrong_masks": "wrong_masks",
    "old_called_fresh": "old_called_fresh",
    "diagnostics": "diagnostics",
    "recovery_s": "recovery_s",
    "verdict": "verdict",
}
_DONE = {"fault": "fault", "does": "what is done", "expected": "expected besides"}
_HUMAN = {"fault": "fault", "human": "what to do"}
_HEAD = """# Reliability

Generated from `{record}`, which `{command}` writes; do not edit. The drill starts the real
node as a process on the demo bundle, plays a camera into it over ROS 2 and breaks one thing at a
time: messages, files, the machine, and (by `semla_ros/bench/drill/faulty_node.py`) the node's own
parts. Another process notes every mask, support score, swap and diagnostics message with its time
of arrival. `scripts/fault_drill --only NAME` runs one row, `--list` names them.

Whatever the fault, these must hold:

- the process lives;
- no mask of a broken image, of an image never sent, of another size, twice, or other than what the
  same picture and adapter gave before;
- no support OK or LOW from an observation older than `support_max_age_s`, by its stamp or by the
  clock, from before a step back in time, or over pure noise;
- afterwards masks, support and diagnostics are as before, without a restart.

What is expected besides stands under the table. Recovery counts from the end of the fault until
all three are well again; shares of failed or lost images are told of the last 30 images or
seconds, and fall no sooner. Measured on {machine}, load average {load} when it began (other
programs ran beside it where that is not near 0, and times are longer then), in {minutes} minutes.
"""

_BEYOND = """## What only a supervisor mends
A subscriber that is killed (SIGKILL) while it holds the mutex of its shared-memory port of Fast
DDS leaves it locked for ever. The node's next publication waits in
`SharedMemManager::Port::regenerate_port`, discovery then blocks, and rclpy holds the Python
interpreter while it publishes: no diagnostics, timer or signal handler runs, and new subscribers
get nothing. Seen in three of three runs with ten participants a process on six topics, one to two
kills a second, after 120 to 260 kills (node at 10 Hz, 640x480, Fast DDS 3.2.2); the state of the
threads was read with gdb. `/dev/shm` was not full. Compare Fast-DDS issues 5469 and 6484. With
the subscribers on UDP (`FASTDDS_BUILTIN_TRANSPORTS=UDPv4`, no profile), 200 kills did no harm.

- Start tools that come and go (RViz, scripts) with UDP.
- The node ends itself after 30 s without a turn of its main loop (`nodes/lifeline.py`; tracebacks
  of all threads on stderr, exit code 1): run it under what starts it again, `drive.launch.py
  respawn:=true` or the unit file in `config/security/`. A camera driver is exposed in the same
  way to a killed node.
"""


def write_page(record: Path, page: Path) -> None:
    """Write the page of `record`.

    Raises:
        EvaluationError: The record cannot be read or the page not be written.
    """
    write_file(page, page_of(read_record(record), f"{record.parent.name}/{record.name}").encode())


def page_of(record: BenchRecord, name: str) -> str:
    """Return the page of a record called `name`."""
    machine = record.machine
    where = f"{machine.get('cores', '?')} cores, {machine.get('processor', 'unknown processor')}"
    failed = [row for row in record.rows if str(row["verdict"]).startswith("FAILED")]
    parts = [
        _HEAD.format(
            record=name,
            command=record.command,
            machine=where,
            load=machine.get("load_before", "unknown"),
            minutes=record.extra.get("minutes", "some"),
        ),
        f"**{len(record.rows) - len(failed)} of {len(record.rows)} rows are as expected.**\n",
        _table(_OUTCOME, record.rows),
        "## What is done, and what is expected besides\n",
        _table(_DONE, record.rows),
        "## What a person has to do\n",
        "Rows that are not here need nobody.\n",
        _table(_HUMAN, [row for row in record.rows if row["human"]]),
        _BEYOND,
    ]
    return "\n".join(parts)


def _table(columns: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return some columns of the record under other names."""
    shown = [{name: row.get(key) for key, name in columns.items()} for row in rows]
    return markdown_table(shown) + "\n"
