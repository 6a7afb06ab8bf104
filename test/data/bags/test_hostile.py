"""Recordings that would cost gigabytes or hours are refused, or end with a note."""

import bz2
import io
import sqlite3
import struct
import time

import pytest
from recordings import write_camera, write_storage
from rosbags.rosbag2 import StoragePlugin

from semla_ros.core.errors import BagError
from semla_ros.data.bags import allowance, mcap_file
from semla_ros.data.bags.allowance import Allowance, unpack_ros1
from semla_ros.data.bags.mcap_records import (
    CHUNK_INDEX,
    DATA_END,
    FOOTER,
    MAGIC,
    RECORD,
    records,
)
from semla_ros.data.bags.reader import SkippedFrame, image_topics, read_frames
from semla_ros.data.bags.sqlite_guard import StepBudget


def frames_and_notes(path):
    notes = []
    return list(read_frames(path, on_note=notes.append)), " ".join(notes)


def test_one_file_may_not_unpack_to_more_than_its_allowance(tmp_path, monkeypatch):
    path = write_camera(tmp_path / "a.mcap", count=4)
    assert len(frames_and_notes(path)[0]) == 4
    monkeypatch.setattr(allowance, "_FREE_BYTES", 10_000)
    monkeypatch.setattr(allowance, "_MAX_RATIO", 0)
    frames, notes = frames_and_notes(path)
    assert frames == []
    assert "unpack to more than" in notes


def test_an_index_that_names_one_chunk_a_thousand_times_is_not_believed(tmp_path):
    path = write_camera(tmp_path / "a.mcap", count=4)
    data = path.read_bytes()
    parts = [MAGIC]
    summary = []
    for opcode, content in records(memoryview(data)[len(MAGIC) :]):
        record = RECORD.pack(opcode, len(content)) + bytes(content)
        if opcode == FOOTER:
            break
        (summary if DATA_END in [p[0] for p in parts[1:]] else parts).append(record)
    repeated = [r for r in summary if r[0] == CHUNK_INDEX] * 2000
    others = [r for r in summary if r[0] != CHUNK_INDEX]
    start = sum(map(len, parts))
    footer = RECORD.pack(FOOTER, 20) + struct.pack("<QQI", start, 0, 0)
    path.write_bytes(b"".join((*parts, *repeated, *others, footer, MAGIC)))
    frames, notes = frames_and_notes(path)
    assert len(frames) == 4
    assert "damaged index" in notes


def test_a_chunk_of_millions_of_messages_is_refused(tmp_path, monkeypatch):
    path = write_camera(tmp_path / "a.mcap", count=4)
    monkeypatch.setattr(mcap_file, "_MAX_HELD_BYTES", 1000)
    frames, notes = frames_and_notes(path)
    assert frames == []
    assert "holds too much" in notes


def test_a_small_file_has_a_small_allowance():
    left = Allowance(1000)
    left.take(1 << 30)
    left.take(1000 * 1000)
    with pytest.raises(BagError, match="refused"):
        left.take(1)


def test_a_ros1_chunk_is_unpacked_up_to_the_bound(monkeypatch):
    packed = bz2.compress(bytes(2000))
    assert unpack_ros1(packed, "bz2") == bytes(2000)
    assert unpack_ros1(b"as it is", "none") == b"as it is"
    monkeypatch.setattr(allowance, "MAX_CHUNK_BYTES", 1999)
    with pytest.raises(BagError, match="at most 1999 bytes"):
        unpack_ros1(packed, "bz2")
    for compression in ("bz2", "lz4"):
        with pytest.raises(BagError, match="damaged"):
            unpack_ros1(b"no such thing at all", compression)


VIEW = """
ALTER TABLE messages RENAME TO real;
CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
SELECT id, 1 AS topic_id, id AS timestamp, zeroblob(100000000) AS data FROM n;
"""
COMPUTED = """
ALTER TABLE messages ADD COLUMN more BLOB GENERATED ALWAYS AS (zeroblob(1000000000)) VIRTUAL;
"""
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON topics BEGIN DELETE FROM messages; END;"


@pytest.mark.parametrize(
    ("change", "reason"), [(VIEW, "view"), (COMPUTED, "computed"), (TRIGGER, "trigger")]
)
def test_programs_in_a_database_are_refused(tmp_path, change, reason):
    file = next(write_storage(tmp_path / "bag", StoragePlugin.SQLITE3).glob("*.db3"))
    database = sqlite3.connect(file)
    database.executescript(change)
    database.close()
    began = time.process_time()
    with pytest.raises(BagError, match=f"{reason}.*refused"):
        frames_and_notes(file)
    assert time.process_time() - began < 20


def test_the_steps_of_a_database_are_counted_by_its_size():
    small, large = StepBudget(0), StepBudget(1_000_000)
    assert sum(1 for _ in iter(small, True)) == 50
    assert sum(1 for _ in iter(large, True)) == 150


def test_metadata_of_blank_lines_takes_no_time(tmp_path):
    write_storage(tmp_path / "bag", StoragePlugin.MCAP)
    (tmp_path / "bag" / "metadata.yaml").write_bytes(b"\n" * 1_000_000 + b"- " * 100_000)
    began = time.process_time()
    assert image_topics(tmp_path / "bag", on_note=lambda _: None)[0].count == 3
    assert time.process_time() - began < 20  # quadratic: an hour


def test_a_ros1_bag_sets_no_more_memory_aside_than_it_has(tmp_path):
    head = io.BytesIO()
    head.write(b"#ROSBAG V2.0\n")
    head.write(struct.pack("<I", 0xFFFFFFF0))
    (tmp_path / "a.bag").write_bytes(head.getvalue())
    with pytest.raises(BagError, match="Header could not be read"):
        frames_and_notes(tmp_path / "a.bag")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE messages SET data = 'text' WHERE id = 2",
        "UPDATE messages SET data = 5 WHERE id = 2",
    ],
)
def test_rows_that_hold_no_message_are_skipped(tmp_path, change):
    file = next(write_storage(tmp_path / "bag", StoragePlugin.SQLITE3).glob("*.db3"))
    database = sqlite3.connect(file)
    database.execute(change)
    database.commit()
    database.close()
    frames, _ = frames_and_notes(file)
    assert [isinstance(f, SkippedFrame) for f in frames] == [False, True, False]
