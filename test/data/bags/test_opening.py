"""Recordings as robots leave them: unclosed, packed, mixed, half listed."""

import os
import shutil
import sqlite3
import struct
import sys

import numpy as np
import pytest
from recordings import STAMP, picture, ros2_message, write_camera, write_storage
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from semla_ros.core.errors import BagError
from semla_ros.data.bags.mcap_records import (
    CHANNEL,
    HEADER,
    MAGIC,
    MAX_CHUNK_BYTES,
    MESSAGE,
    RECORD,
    SCHEMA,
)
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.reader import image_topics, read_frames

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def stored_rows(count, first=0):
    store = get_typestore(Stores.LATEST)
    for i in range(first, first + count):
        fields = image_fields(picture(i), stamp_ns=STAMP + i, frame_id="optical")
        yield (1, STAMP + i, bytes(store.serialize_cdr(ros2_message(store, fields), IMAGE)))


def add_rows(database, rows):
    statement = "INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)"
    database.executemany(statement, rows)
    database.commit()


@pytest.fixture
def unclosed(tmp_path):
    """A recording of 10 frames, 7 of them in its write-ahead log, as a killed recorder left it."""
    file = next(write_storage(tmp_path / "bag", StoragePlugin.SQLITE3).glob("*.db3"))
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    add_rows(database, stored_rows(4, first=3))
    add_rows(database, stored_rows(3, first=7))
    left = tmp_path / "left #1 100%"
    left.mkdir()
    for each in file.parent.glob("bag.db3*"):
        shutil.copy(each, left)
    database.close()
    return left


def frames_of(path):
    return [(f.stamp_ns - STAMP, f.rgb) for f in read_frames(path, on_note=lambda _: None)]


def assert_pictures(frames, count):
    assert [number for number, _ in frames] == list(range(count))
    for number, rgb in frames:
        np.testing.assert_array_equal(rgb, picture(number))


def test_what_lies_in_a_write_ahead_log_is_read_and_nothing_is_written(unclosed):
    before = {f.name: f.read_bytes() for f in unclosed.iterdir()}
    unclosed.chmod(0o555)
    try:
        notes = []
        assert_pictures(frames_of(unclosed), 10)
        image_topics(unclosed, on_note=notes.append)
        assert any("'bag.db3-wal' is read" in n for n in notes)
    finally:
        unclosed.chmod(0o755)
    assert before == {f.name: f.read_bytes() for f in unclosed.iterdir()}


def test_a_write_ahead_log_cut_inside_a_commit_gives_the_commits_before(unclosed):
    wal = unclosed / "bag.db3-wal"
    wal.write_bytes(wal.read_bytes()[:-100])
    assert_pictures(frames_of(unclosed), 7)


def test_frames_of_an_earlier_round_of_the_log_are_left_out(unclosed):
    """After a checkpoint SQLite writes the log from its start again; old frames stay behind."""
    file = unclosed / "bag.db3"
    database = sqlite3.connect(file)
    database.execute("PRAGMA wal_autocheckpoint=0")
    assert database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
    add_rows(database, stored_rows(1, first=10))
    left = unclosed.parent / "again"
    shutil.copytree(unclosed, left)
    database.close()
    assert_pictures(frames_of(left), 11)


def test_a_transaction_that_was_not_finished_is_rolled_back(tmp_path):
    file = next(write_storage(tmp_path / "bag", StoragePlugin.SQLITE3).glob("*.db3"))
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("PRAGMA cache_size=1")  # pages go to the file before the commit
    database.execute("BEGIN")
    database.execute("UPDATE messages SET data = zeroblob(4000)")
    left = tmp_path / "left"
    shutil.copytree(file.parent, left)
    database.close()
    assert (left / "bag.db3-journal").stat().st_size > 0
    before = {f.name: f.read_bytes() for f in left.iterdir()}
    assert_pictures(frames_of(left), 3)
    assert before == {f.name: f.read_bytes() for f in left.iterdir()}


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_packed_file_alone_is_read(tmp_path, plugin):
    folder = write_storage(tmp_path / "bag", plugin)
    file = next(f for f in folder.iterdir() if f.name != "metadata.yaml")
    packed = tmp_path / f"{file.name}.zstd"
    packed.write_bytes(zstd.compress(file.read_bytes()))
    assert_pictures(frames_of(packed), 3)
    both = tmp_path / "both"
    both.mkdir()
    shutil.copy(file, both)
    shutil.copy(packed, both)
    assert_pictures(frames_of(both), 3)


def test_a_packed_file_that_was_cut_is_read_as_far_as_it_goes(tmp_path):
    file = write_camera(tmp_path / "a.mcap", 24, height=240, width=320)
    packed = tmp_path / "a.mcap.zstd"
    packed.write_bytes(zstd.compress(file.read_bytes())[:-200_000])
    notes = []
    assert 3 < len(list(read_frames(packed, on_note=notes.append))) < 24
    assert any("as far as it goes" in n for n in notes)


def test_what_unpacks_without_end_is_refused_with_the_command(tmp_path):
    packed = tmp_path / "bomb.mcap.zstd"
    packed.write_bytes(zstd.compress(bytes(50_000_000)))
    with pytest.raises(BagError, match=r"200 times its size.*zstd -d"):
        image_topics(packed)


def test_messages_packed_one_by_one_are_read_without_metadata(tmp_path):
    store = get_typestore(Stores.LATEST)
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/image", IMAGE, typestore=store)
        for _, stamp, data in stored_rows(3):
            writer.write(connection, stamp, data)
    assert_pictures(frames_of(tmp_path / "bag"), 3)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    assert_pictures(frames_of(tmp_path / "bag"), 3)


def test_files_that_metadata_does_not_list_are_read_and_missing_ones_named(tmp_path):
    folder = write_storage(tmp_path / "bag", StoragePlugin.MCAP)
    shutil.copy(folder / "bag.mcap", folder / "bag_1.mcap")
    notes = []
    assert len(list(read_frames(folder, on_note=notes.append))) == 6
    assert any("does not list 'bag_1.mcap'" in n for n in notes)
    (folder / "bag.mcap").unlink()
    notes = []
    assert len(list(read_frames(folder, on_note=notes.append))) == 3
    assert any("lacks 'bag.mcap'" in n for n in notes)


def test_an_active_ros1_bag_names_the_command(tmp_path):
    active = tmp_path / "drive.bag.active"
    active.write_bytes(b"#ROSBAG V2.0\n")
    for path in (active, tmp_path):
        with pytest.raises(BagError, match=r"rosbag reindex .*drive.bag.active"):
            image_topics(path)


def test_a_git_lfs_pointer_is_named(tmp_path):
    pointer = tmp_path / "drive.mcap"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(BagError, match="git lfs pull"):
        image_topics(pointer)


def text(value):
    return struct.pack("<I", len(value)) + value


def record(opcode, *parts):
    content = b"".join(parts)
    return RECORD.pack(opcode, len(content)) + content


def mcap_of(*channels, profile=b"ros2", messages=()):
    """An mcap without index: (schema name, schema encoding, topic, encoding) for each channel."""
    parts = [MAGIC, record(HEADER, text(profile), text(b"test"))]
    for number, (name, language, topic, encoding) in enumerate(channels, 1):
        key = struct.pack("<H", number)
        parts.append(record(SCHEMA, key, text(name), text(language), text(b"")))
        parts.append(record(CHANNEL, key, key, text(topic), text(encoding), text(b"")))
    for channel, stamp, data in messages:
        parts.append(record(MESSAGE, struct.pack("<HIQQ", channel, 0, stamp, stamp), data))
    return b"".join([*parts, record(15, bytes(4)), record(2, bytes(20)), MAGIC])


CAMERA = (b"sensor_msgs/msg/Image", b"ros2msg", b"/camera", b"cdr")
OTHERS = (
    (b"Odom", b"jsonschema", b"/odom", b"json"),
    (b"foxglove.SceneUpdate", b"protobuf", b"/scene", b"protobuf"),
    (b"Strange", b"klingon", b"/strange", b"flatbuffer"),
)


@pytest.mark.parametrize("profile", [b"", b"ros2", b"ros1", b"x-acme"])
def test_ros_channels_are_read_beside_any_other_and_under_any_profile(tmp_path, profile):
    path = tmp_path / "mixed.mcap"
    rows = [(1, stamp, data) for _, stamp, data in stored_rows(3)]
    rows += [(number, STAMP, b"{}") for number in (2, 3, 4)]
    path.write_bytes(mcap_of(CAMERA, *OTHERS, profile=profile, messages=rows))
    notes = []
    assert [t.name for t in image_topics(path, on_note=notes.append)] == ["/camera"]
    assert_pictures(frames_of(path), 3)
    (note,) = notes
    assert all(t in note for t in ("/odom (json Odom)", "/scene", "/strange"))
    assert "damaged" not in note


@pytest.mark.parametrize("opcode", [MESSAGE, CHANNEL])
def test_a_record_of_damaged_length_ends_a_recording_before_it(tmp_path, largest_read, opcode):
    path = tmp_path / "damaged.mcap"
    whole = mcap_of(CAMERA, messages=[(1, stamp, data) for _, stamp, data in stored_rows(3)])
    end = len(whole) - 50  # DataEnd, Footer and the closing magic
    path.write_bytes(whole[:end] + RECORD.pack(opcode, 5 << 30))
    os.truncate(path, 6 << 30)
    notes = []
    assert len(list(read_frames(path, on_note=notes.append))) == 3
    assert any(f"cut off or damaged at byte {end}" in n for n in notes)
    assert largest_read() < MAX_CHUNK_BYTES * 1.1


def test_a_record_that_ends_before_its_fields_ends_a_recording_before_it(tmp_path):
    path = tmp_path / "damaged.mcap"
    whole = mcap_of(CAMERA, messages=[(1, stamp, data) for _, stamp, data in stored_rows(3)])
    path.write_bytes(whole[:-50] + record(CHANNEL, b"\1\0\1\0", b"\xff" * 4) + whole[-50:])
    assert_pictures(frames_of(path), 3)


def test_messages_without_index_may_be_out_of_order(tmp_path):
    path = tmp_path / "shuffled.mcap"
    rows = [(1, stamp, data) for _, stamp, data in stored_rows(5)]
    path.write_bytes(mcap_of(CAMERA, messages=[rows[i] for i in (2, 0, 1, 4, 3)]))
    assert_pictures(frames_of(path), 5)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [(b"foxglove_msgs/msg/CompressedVideo", b"cdr"), (b"foxglove.CompressedVideo", b"protobuf")],
)
def test_a_recording_of_video_alone_names_the_topic_and_what_converts_it(tmp_path, name, encoding):
    path = tmp_path / "video.mcap"
    path.write_bytes(mcap_of((name, b"protobuf", b"/cam/video", encoding)))
    with pytest.raises(BagError, match=r"/cam/video \(foxglove.*CompressedVideo.*image_transport"):
        list(read_frames(path, on_note=lambda _: None))


def test_ros1_messages_in_an_mcap_are_read(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    header = store.types["std_msgs/msg/Header"](
        7, store.types["builtin_interfaces/msg/Time"](12, 34), "optical"
    )
    message = store.types[IMAGE](header, 24, 32, "rgb8", 0, 96, picture(3).reshape(-1))
    data = bytes(store.serialize_ros1(message, IMAGE))
    path = tmp_path / "old.mcap"
    channel = (b"sensor_msgs/Image", b"ros1msg", b"/camera", b"ros1")
    path.write_bytes(mcap_of(channel, profile=b"ros1", messages=[(1, STAMP, data)]))
    (frame,) = read_frames(path)
    assert (frame.stamp_ns, frame.frame_id) == (12_000_000_034, "optical")
    np.testing.assert_array_equal(frame.rgb, picture(3))


def test_a_chunk_that_declares_more_than_it_may_is_refused_before_it_is_opened(tmp_path):
    chunk = struct.pack("<QQQI", 0, 1, 6 << 30, 0) + text(b"zstd")
    packed = zstd.compress(bytes(1000))
    body = record(6, chunk, struct.pack("<Q", len(packed)), packed)
    whole = mcap_of(CAMERA)
    path = tmp_path / "bomb.mcap"
    path.write_bytes(whole[: -(len(MAGIC) + 29 + 13)] + body + whole[-(len(MAGIC) + 29 + 13) :])
    notes = []
    topic = image_topics(path)[0].name
    assert list(read_frames(path, topic=topic, on_note=notes.append)) == []
    assert any("at most" in n for n in notes)
