"""Hints that a recording holds: what was said to the node while it drove."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from semla_ros.core.errors import BagError
from semla_ros.data.bags.messages import HINT
from semla_ros.data.bags.opening import open_readers
from semla_ros.data.bags.recording import log_note
from semla_ros.data.bags.topics import read_topic, sound_stamp_ns

STRING = "std_msgs/msg/String"
MAX_HINTS = 10_000
_ENDINGS = {STRING: "/hint", HINT: "/hint_stamped"}


@dataclass(frozen=True, slots=True)
class RecordedHint:
    """What was said.

    Attributes:
        recorded_ns: When the recorder received it.
        text, ttl_s, stamp_ns: See `AdaptivePipeline.hint`.
    """

    recorded_ns: int
    text: str
    ttl_s: float = 0.0
    stamp_ns: int = 0


def read_hints(path: Path) -> tuple[RecordedHint, ...]:
    """Return the hints of a recording (topics `.../hint`, `.../hint_stamped`), oldest first.

    Args:
        path: As for `image_topics`.

    Raises:
        BagError: There is no readable recording at `path`, or more than `MAX_HINTS` hints.
    """
    topics: set[tuple[str, str]] = set()
    with ExitStack() as stack:
        for reader in open_readers(path, stack, lambda _: None):
            for each in reader.connections:
                ending = _ENDINGS.get(each.msgtype)
                if ending is not None and each.topic.endswith(ending):
                    topics.add((each.topic, each.msgtype))
    found: list[RecordedHint] = []
    for topic, msgtype in sorted(topics):
        try:
            found += islice(_hints(path, topic, msgtype), MAX_HINTS + 1)
        except BagError as error:
            log_note(f"the hints of {topic!r} are left out: {error}")
    if len(found) > MAX_HINTS:
        raise BagError(f"expected at most {MAX_HINTS} hints in {str(path)!r}, got more")
    return tuple(sorted(found, key=lambda hint: hint.recorded_ns))


def _hints(path: Path, topic: str, msgtype: str) -> Iterator[RecordedHint]:
    for each in read_topic(path, topic, msgtype):
        message = each.message
        if msgtype == STRING:
            yield RecordedHint(each.recorded_ns, str(message.data))
            continue
        try:
            stamp_ns = sound_stamp_ns(message)
        except BagError as error:
            log_note(f"a hint of {topic!r} is left out: {error}")
            continue
        yield RecordedHint(each.recorded_ns, str(message.text), float(message.ttl_s), stamp_ns)
