"""A cut or damaged mcap shows what is whole in it and nothing else."""

import os
import struct
import zlib

import numpy as np
import pytest
from recordings import write_camera

from semla_ros.data.bags.mcap_records import CHUNK, CHUNK_INDEX, MAX_CHUNK_BYTES
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.reader import read_frames
from semla_ros.data.bags.writer import BagWriter

STAMP = 1_700_000_000_000_000_000


def chunk_ends(data):
    """Return where the chunks of an mcap end. Source: mcap.dev/spec, records."""
    at, ends = 8, []
    while data[at] != 0x0F:  # the end of the data section
        kind, size = struct.unpack_from("<BQ", data, at)
        at += 9 + size
        if kind == 0x06:
            ends.append(at)
    return ends


@pytest.mark.parametrize(("beyond", "whole_chunks"), [(-1, 1), (0, 2), (1, 2), (2000, 2)])
def test_whole_chunks_survive_and_of_a_cut_one_only_whole_messages(tmp_path, beyond, whole_chunks):
    whole, cut = tmp_path / "whole.mcap", tmp_path / "cut.mcap"
    rng = np.random.default_rng(0)
    with BagWriter(whole) as bag:  # noise does not compress: a chunk holds a few images
        for stamp in range(STAMP, STAMP + 24):
            image = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
            bag.write("/image", IMAGE, image_fields(image, stamp_ns=stamp, frame_id="c"), stamp)
    data = whole.read_bytes()
    stamps = {}
    for count, end in enumerate(chunk_ends(data)[:2], start=1):
        cut.write_bytes(data[:end])
        stamps[count] = [f.stamp_ns for f in read_frames(cut, on_note=lambda _: None)]
    assert 0 < len(stamps[1]) < len(stamps[2]) < 24
    assert stamps[2] == list(range(STAMP, STAMP + len(stamps[2])))
    cut.write_bytes(data[: chunk_ends(data)[1] + beyond])
    frames = list(read_frames(cut, on_note=lambda _: None))
    found = [f.stamp_ns for f in frames]
    assert found[: len(stamps[whole_chunks])] == stamps[whole_chunks]
    assert found == list(range(STAMP, STAMP + len(found)))
    assert len(found) <= len(stamps[2])


def records_at(data):
    """Yield (opcode, where its content begins, its size). Source: mcap.dev/spec, records."""
    at = 8
    while at < len(data) - 8:
        kind, size = struct.unpack_from("<BQ", data, at)
        yield kind, at + 9, size
        at += 9 + size


def patched(path, at, value):
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


def frames_and_notes(path):
    notes = []
    return list(read_frames(path, on_note=notes.append)), notes


@pytest.fixture
def camera(tmp_path):
    """A recording of 24 frames in several chunks."""
    return write_camera(tmp_path / "a.mcap", 24, height=240, width=320)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (-8, b"\xff\xff\xff\xff"),  # the record's length
        (16, b"\xff\xff\xff\xff"),  # where the chunk lies
        (17, b"\x00\x01"),  # the same, within the file
        (24, b"\xff\xff\xff\x7f"),  # its size
        (24, bytes(4)),
        (32, b"\xff\xff\xff\x7f"),  # the length of its table
    ],
)
def test_a_damaged_index_costs_nothing_but_time(camera, field, value):
    entry = [at for kind, at, _ in records_at(camera.read_bytes()) if kind == CHUNK_INDEX][1]
    patched(camera, entry + field, value)
    frames, notes = frames_and_notes(camera)
    assert len(frames) == 24
    (note,) = notes
    assert "has a damaged index (" in note
    assert note.endswith("reading it record by record")


@pytest.mark.parametrize("damaged", [False, True])
def test_the_checksum_of_the_summary_is_heeded_where_there_is_one(camera, damaged):
    data = camera.read_bytes()
    (start,) = struct.unpack_from("<Q", data, len(data) - 28)
    patched(camera, len(data) - 12, struct.pack("<I", zlib.crc32(data[start:-12])))
    if damaged:
        (entry, *_) = (at for kind, at, _ in records_at(data) if kind == CHUNK_INDEX)
        patched(camera, entry, bytes(1))  # a time: nothing else can tell
    frames, notes = frames_and_notes(camera)
    assert len(frames) == 24
    assert [("checksum does not fit" in n) for n in notes] == [True] * damaged


@pytest.mark.parametrize("length", [5 << 30, 1 << 63])
def test_a_chunk_of_damaged_length_is_read_within_bounds(camera, largest_read, length):
    whole = len(frames_and_notes(camera)[0])
    data = camera.read_bytes()
    second, third = [at for kind, at, _ in records_at(data) if kind == CHUNK][1:3]
    patched(camera, second - 8, struct.pack("<Q", length))
    os.truncate(camera, 6 << 30)
    frames, notes = frames_and_notes(camera)
    assert largest_read() < MAX_CHUNK_BYTES * 1.1
    camera.write_bytes(data[: third - 9])
    assert len(frames) == len(frames_and_notes(camera)[0]) < whole  # the chunk itself is there
    (note,) = notes
    assert f"cut off or damaged at byte {second - 9}: reading it as far as it goes" in note
