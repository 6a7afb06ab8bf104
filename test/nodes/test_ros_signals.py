"""Commands that start processes: a signal to the command leaves nothing running."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter

ROOT = Path(__file__).resolve().parents[2]
MARK = "SEMLA_TEST_MARK"
WITHIN_S = 60.0


def marked(mark):
    """Return pid -> command line of every living process with `mark` in its environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes()
            ):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().decode()
        except OSError:
            continue
    return found


def wait_until(condition, what):
    end = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {WITHIN_S:g} s: {what}")
        time.sleep(0.1)


@contextmanager
def told_of_ctrl_c():
    """Let children start with SIGINT as a terminal gives it; behind `&` a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts `semla` with words: process, mark and log."""
    started = []

    def begin(*words):
        mark, log = uuid.uuid4().hex, tmp_path / "semla.log"
        with log.open("wb") as sink, told_of_ctrl_c():
            process = subprocess.Popen(
                [sys.executable, "-m", "semla_ros", *map(str, words)],
                cwd=ROOT,
                env=os.environ | {MARK: mark, "PYTHONUNBUFFERED": "1"},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        started.append(mark)
        return process, mark, log

    yield begin
    for mark in started:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_drive_is_the_node_that_gets_the_signal(start, tiny, number):
    drive, mark, log = start(
        *("drive", "--bundle", tiny.root, "--engine", "fake", "--image", "/a", "--namespace", "x")
    )
    wait_until(lambda: "segmenting /a" in log.read_text(), "the node is active")
    drive.send_signal(number)
    assert drive.wait(WITHIN_S) == (-number if number == signal.SIGKILL else 0), log.read_text()
    assert not marked(mark)
    assert "Traceback" not in log.read_text()


@pytest.fixture
def long_recording(tmp_path):
    """Return a recording of a minute, two frames a second."""
    path = tmp_path / "drive.mcap"
    with BagWriter(path) as bag:
        for number in range(120):
            stamp = (2_000 + number) * 500_000_000
            fields = image_fields(np.zeros((48, 64, 3), np.uint8), stamp_ns=stamp, frame_id="c")
            bag.write("/camera", IMAGE, fields, stamp)
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_record_leaves_no_process_behind(start, tiny, long_recording, tmp_path, number):
    out = tmp_path / "out"
    record, mark, log = start(
        "record", long_recording, "--out", out, "--bundle", tiny.root, "--engine", "fake"
    )

    def all_up():
        assert record.poll() is None, log.read_text()
        node = out / "logs" / "node.log"
        return len(marked(mark)) == 4 and node.is_file() and "segmenting" in node.read_text()

    wait_until(all_up, "node, recorder and player run")
    record.send_signal(number)
    code = record.wait(WITHIN_S)
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    wait_until(lambda: not marked(mark), "every process has ended")
    assert "Traceback" not in log.read_text()
