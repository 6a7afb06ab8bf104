"""A cut mcap shows what is whole in it and nothing else."""

import struct

import numpy as np
import pytest

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
