"""A ring of frames keeps its bounds, whatever ends the process that writes it."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from captures import DIM, IDENTITY, ROOMY, frame_of, write_captures

from semla_ros.core.errors import CaptureError
from semla_ros.core.timing import wall_ns
from semla_ros.data.captures.folder import read_captures
from semla_ros.data.captures.record import CaptureIdentity
from semla_ros.data.captures.ring import CaptureRing


@pytest.fixture
def ring(tmp_path):
    ring = CaptureRing(tmp_path / "captures", IDENTITY)
    yield ring
    ring.close()


def names(ring):
    return [c.record.stamp_ns for c in read_captures(ring.folder).captures]


def nbytes_on_disk(ring):
    return sum(p.stat().st_size for p in ring.folder.glob("0*"))


def test_the_oldest_make_room(ring):
    record, files = frame_of(1)
    size = len(record.content()) + sum(map(len, files.values()))
    limits = replace(ROOMY, max_bytes=round(3.5 * size))
    for stamp in range(1, 8):
        ring.keep(*frame_of(stamp), limits)
        assert ring.nbytes == nbytes_on_disk(ring) <= limits.max_bytes
    assert names(ring) == [5, 6, 7]


def test_a_smaller_limit_holds_at_once(ring):
    for stamp in range(1, 8):
        ring.keep(*frame_of(stamp), ROOMY)
    ring.tidy(replace(ROOMY, max_bytes=ring.nbytes // 2))
    assert names(ring) == [5, 6, 7]
    assert len(ring) == 3


def test_there_are_never_more_than_can_be_opened_again(ring):
    limits = replace(ROOMY, max_frames=3)
    for stamp in range(1, 8):
        ring.keep(*frame_of(stamp), limits)
        assert len(names(ring)) == min(stamp, 3)
    assert names(ring) == [5, 6, 7]
    ring.tidy(replace(limits, max_frames=2))
    assert names(ring) == [6, 7]


def test_what_comes_and_goes_is_held_against_what_is_there(ring):
    """Embeddings move in memory as frames go at one end and come at the other."""
    limits = replace(ROOMY, max_frames=5, spread=0.01)
    for stamp in range(1, 40):
        record, files = frame_of(stamp)
        assert ring.is_new("other", record.embedding, limits)
        ring.keep(record, files, limits)
        kept = [frame_of(s)[0].embedding for s in names(ring)]
        assert not any(ring.is_new("other", each, limits) for each in kept)
        if stamp > 5:
            assert ring.is_new("other", frame_of(stamp - 5)[0].embedding, limits)


def test_a_folder_is_taken_over_without_copying_every_frame_again(tmp_path, monkeypatch):
    folder = write_captures(tmp_path / "captures", range(1, 101))
    copied, empty = [], np.empty
    monkeypatch.setattr(np, "empty", lambda *a, **k: copied.append(a[0]) or empty(*a, **k))
    monkeypatch.setattr(np, "concatenate", lambda *_: pytest.fail("copied for one frame"))
    with closing(CaptureRing(folder, IDENTITY)) as ring:
        assert len(ring) == 100
    assert len(copied) < 10


def test_frames_that_are_too_old_go(ring):
    now, hour = wall_ns(), 3600 * 10**9
    ring.keep(*frame_of(1, captured_ns=now - 2 * hour), ROOMY)
    ring.keep(*frame_of(2, captured_ns=now), ROOMY)
    ring.tidy(replace(ROOMY, max_age_s=7200 * 2))
    assert names(ring) == [1, 2]
    ring.tidy(replace(ROOMY, max_age_s=3600))
    assert names(ring) == [2]


def test_a_thousand_frames_of_one_wall_are_one(ring):
    limits = replace(ROOMY, spread=0.1)
    rng = np.random.default_rng(0)
    wall = rng.normal(size=DIM)
    for stamp in range(1000):
        noisy = (wall * (1 + rng.normal(0, 0.01, DIM))).astype(np.float32)
        record, files = frame_of(stamp, embedding=noisy)
        if ring.is_new(record.name, record.embedding, limits):
            ring.keep(record, files, limits)
    assert names(ring) == [0]
    assert ring.is_new("other", -wall.astype(np.float32), limits)


def test_a_stamp_is_kept_once(ring):
    record, files = frame_of(5)
    ring.keep(record, files, ROOMY)
    assert not ring.is_new(record.name, -record.embedding, ROOMY)


def test_a_ring_goes_on_where_it_ended(tmp_path):
    folder = write_captures(tmp_path / "captures", [3, 1, 2])
    ring = CaptureRing(folder, IDENTITY)
    assert len(ring) == 3
    assert ring.nbytes == nbytes_on_disk(ring)
    record, _ = frame_of(2)
    assert not ring.is_new("other", record.embedding, replace(ROOMY, spread=0.1))
    ring.keep(*frame_of(9), replace(ROOMY, max_bytes=ring.nbytes))
    assert names(ring) == [2, 3, 9]  # by when they were kept, not by name alone
    ring.close()


def test_a_frame_larger_than_the_ring_is_refused_and_costs_no_other(ring):
    ring.keep(*frame_of(1), ROOMY)
    with pytest.raises(CaptureError, match="raise capture_mib"):
        ring.keep(*frame_of(2, size=(240, 320)), replace(ROOMY, max_bytes=ring.nbytes + 10))
    assert names(ring) == [1]


def test_two_processes_never_share_a_ring(ring):
    with pytest.raises(CaptureError, match="in use by another process"):
        CaptureRing(ring.folder, IDENTITY)
    ring.close()
    CaptureRing(ring.folder, IDENTITY).close()


def test_captures_of_another_navigator_are_not_mixed(tmp_path):
    folder = write_captures(tmp_path / "captures", [1])
    with pytest.raises(CaptureError, match="'clip:other', got a folder of 'clip:tiny'"):
        CaptureRing(folder, CaptureIdentity("clip:other", DIM))
    assert len(read_captures(folder).captures) == 1


@pytest.mark.parametrize("place", ["/proc/captures", "/dev/null/captures"])
def test_a_folder_that_cannot_be_made_is_one_line(place):
    from pathlib import Path

    with pytest.raises(CaptureError, match="cannot make the capture folder"):
        CaptureRing(Path(place), IDENTITY)


def test_a_damaged_frame_takes_room_and_goes_first(tmp_path):
    folder = write_captures(tmp_path / "captures", [1, 2])
    (folder / f"{2:019d}.json").write_text("{")
    os.utime(folder / f"{2:019d}.json", (0, 0))
    ring = CaptureRing(folder, IDENTITY)
    assert len(ring) == 2
    ring.keep(*frame_of(3), replace(ROOMY, max_bytes=ring.nbytes + 2000))
    assert names(ring) == [1, 3]
    ring.close()


WRITER = """
import sys
from pathlib import Path
from captures import IDENTITY, ROOMY, frame_of
from dataclasses import replace
from semla_ros.data.captures.ring import CaptureRing
ring = CaptureRing(Path(sys.argv[1]), IDENTITY)
print("ready", flush=True)
for stamp in range(int(sys.argv[2]), 10**9):
    ring.keep(*frame_of(stamp, size=(60, 80)), replace(ROOMY, max_bytes=200_000))
"""


def test_what_kill_9_leaves_is_whole(tmp_path):
    """Every frame that is found afterwards has the bytes that its record says."""
    folder, path = tmp_path / "captures", os.pathsep.join(p for p in sys.path if p)
    rng, seen = random.Random(1), 0
    for turn in range(4):
        words = [sys.executable, "-c", WRITER, str(folder), str(1 + turn * 10**6)]
        writer = subprocess.Popen(
            words, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.1 + 0.2 * rng.random())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        found = read_captures(folder)
        assert not found.problems
        for capture in found.captures:
            assert capture.image().shape == (60, 80, 3)
            capture.mask()
        seen += len(found.captures)
    assert seen > 0
    ring = CaptureRing(folder, IDENTITY)  # the kernel took the lock back
    assert nbytes_on_disk(ring) == ring.nbytes
    assert not list(folder.glob(".*.partial"))
    ring.close()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root and mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as sink:
        try:
            while True:
                sink.write(bytes(4096))
        except OSError as error:
            return error.errno


def test_a_full_disk_costs_the_new_frame_alone(small_disk):
    ring = CaptureRing(small_disk / "captures", IDENTITY)
    ring.keep(*frame_of(1), ROOMY)
    filler = small_disk / "filler"
    assert fill(filler) == errno.ENOSPC
    for _ in range(3):
        with pytest.raises(CaptureError, match="No space left on device"):
            ring.keep(*frame_of(2), ROOMY)
    assert names(ring) == [1]
    assert nbytes_on_disk(ring) == ring.nbytes
    assert not list(ring.folder.glob(".*.partial"))
    filler.unlink()
    ring.keep(*frame_of(2), ROOMY)
    assert names(ring) == [1, 2]
    ring.close()


def test_a_read_only_disk_is_one_line(small_disk):
    words = ["mount", "-o", "remount,ro", str(small_disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this kernel does not remount here")
    with pytest.raises(CaptureError, match="Read-only file system"):
        CaptureRing(small_disk / "captures", IDENTITY)
