"""Faults of the machine around the node: load, memory, disk, whoever listens, other nodes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import psutil

from semla_ros.bench.drill.fault import PLAIN, SMALL, TURNS, Fault, camera
from semla_ros.bench.drill.heard import Heard
from semla_ros.bench.drill.session import Session, Setup
from semla_ros.bench.drill.verdicts import adapts, counts, goes_on, newest, sees

_BUSY = "while True: pass"
_NEIGHBOURS = 9
_NEVER_BACK = "reboot the robot, or raise the limit of whatever takes its memory or processor"


def starved(session: Session) -> Iterator[None]:
    """Keep every core busy three times over."""
    many = 3 * (os.cpu_count() or 1)
    busy = [session.spawn([sys.executable, "-c", _BUSY]) for _ in range(many)]
    try:
        yield
    finally:
        for each in busy:
            session.kill(each)


def slow_subscriber(session: Session) -> Iterator[None]:
    """Let a subscriber stop reading, then die; another one must hear masks afterwards."""
    slow = session.new_peer("slow")
    time.sleep(2.0)
    slow.process.send_signal(signal.SIGSTOP)
    session.camera(hz=8)
    yield
    session.kill(slow.process)
    _new_subscriber(session)


def dying_subscribers(session: Session) -> Iterator[None]:
    """Let subscribers die without a word, one after the other."""
    for number in range(3):
        each = session.new_peer(f"dying{number}")
        time.sleep(1.5)
        session.kill(each.process)
    yield
    _new_subscriber(session)


def _new_subscriber(session: Session) -> None:
    heard = session.pictures.with_name("late.jsonl")
    heard.unlink(missing_ok=True)
    late = session.new_peer("late", heard)
    end = time.monotonic() + 15.0
    while '"mask"' not in heard.read_text(encoding="utf-8") and time.monotonic() < end:
        time.sleep(0.1)
    hears = '"mask"' in heard.read_text(encoding="utf-8")
    session.facts["a new subscriber hears masks"] = "yes" if hears else "no"
    late.close()


def ten_nodes(session: Session) -> Iterator[None]:
    """Start nine more nodes on the same camera."""
    session.camera(hz=2)
    nodes = [
        session.spawn(session.command(PLAIN, namespace=f"n{i}"), log=f"n{i}")
        for i in range(_NEIGHBOURS)
    ]
    try:
        end, up = time.monotonic() + 150.0, 0
        while up < _NEIGHBOURS and time.monotonic() < end:
            up = len(_active(session.heard(None)))
            time.sleep(0.2)
        session.facts["nodes active beside it"] = str(up)
        yield
    finally:
        for each in nodes:
            each.send_signal(signal.SIGINT)
        codes = [each.wait(60.0) for each in nodes]
    session.facts["nodes that ended by themselves"] = str(sum(code >= 0 for code in codes))


def _active(heard: Heard) -> set[str]:
    return {
        d.name
        for d in heard.diagnosed
        if d.name.startswith("/n") and d.part == "image" and d.message == "receiving"
    }


def short_memory(session: Session) -> Iterator[None]:
    """Forbid the node's process any more memory than it has, and ask for other adapters."""
    node = psutil.Process(session.pid)
    hard = node.rlimit(psutil.RLIMIT_AS)[1]
    node.rlimit(psutil.RLIMIT_AS, (node.memory_info().vms, hard))
    session.camera(**TURNS)
    session.order("pin, memory short", "select_adapters", mode=1, names=["fog-night"])
    session.order("reload, memory short", "reload_library")
    yield
    node.rlimit(psutil.RLIMIT_AS, (hard, hard))
    session.camera()
    session.order("reload", "reload_library")
    session.order("follow", "select_adapters", mode=0)


def full_disk(session: Session) -> Iterator[None]:
    """Fill the disk with log, caches and bundle on it, and start the node anew there."""
    filler = session.bundle.parent / "filler"
    with filler.open("wb", buffering=0) as sink:
        try:
            while True:
                sink.write(bytes(2**16))
        except OSError:
            pass
    before = len(session.heard().masks)
    ends = session.signal_node(signal.SIGTERM)
    session.facts["ends on SIGTERM"] = "yes" if ends else "no"
    session.start_node()
    session.camera(**TURNS)
    session.wait(lambda heard: len(heard.masks) > before + 5, 60.0)
    yield
    filler.unlink()


MACHINE = (
    Fault(
        "camera at 200 Hz",
        "images at 200 Hz",
        camera(hz=200),
        (goes_on(0.01), newest(3.0), counts("image", "dropped")),
    ),
    Fault(
        "1080p at 30 Hz",
        "images of 1920 x 1080 at 30 Hz",
        camera(hz=30, sizes=[(1080, 1920)]),
        (goes_on(0.02), newest(4.0)),
        seconds=6.0,
    ),
    Fault(
        "CPU starved",
        "three busy processes for each core",
        starved,
        (goes_on(0.05), newest(8.0)),
        seconds=6.0,
        human=_NEVER_BACK,
    ),
    Fault(
        "slow subscriber",
        "a reliable subscriber of masks stops reading (SIGSTOP), then is killed",
        slow_subscriber,
        (goes_on(), sees("a new subscriber hears masks", "yes", "new subscribers are served")),
    ),
    Fault(
        "dying subscribers",
        "three subscribers are killed without a word",
        dying_subscribers,
        (goes_on(), sees("a new subscriber hears masks", "yes", "new subscribers are served")),
    ),
    Fault(
        "ten nodes",
        "nine more nodes on the same camera and machine",
        ten_nodes,
        (
            goes_on(0.05),
            sees("nodes active beside it", str(_NEIGHBOURS), "all ten serve"),
            sees("nodes that ended by themselves", str(_NEIGHBOURS), "all end on SIGINT"),
        ),
    ),
    Fault(
        "memory short",
        "the process may take no more memory while adapters are swapped and the library read",
        short_memory,
        (goes_on(),),
        setup=SMALL,
        human=_NEVER_BACK,
    ),
    Fault(
        "full disk",
        "log, caches and bundle on a disk that is full; the node is started anew there",
        full_disk,
        (goes_on(), adapts(), sees("ends on SIGTERM", "yes", "ends on SIGTERM")),
        setup=Setup("small disk", small_disk=True),
        seconds=10.0,
        human="free the disk: logs and engine plans are lost meanwhile",
    ),
)
