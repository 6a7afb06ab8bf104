"""The prefetch benchmark plays in real time and counts what happened."""

from itertools import pairwise

from semla_ros.answers import FRESH, PREFETCHED, SwapEvent
from semla_ros.bench import prefetch
from semla_ros.config import Config
from semla_ros.types import AdapterMix

BASE, FOG = AdapterMix.base_only(), AdapterMix(("fog",), (1.0,))


def event(origin, ready_ms, *, reason="domain", committed=True):
    return SwapEvent(
        1, BASE, FOG, reason, committed=committed, origin=origin, ready_ms=ready_ms, stall_ms=0.1
    )


def test_only_committed_domain_swaps_are_counted():
    events = [
        event(FRESH, 80.0),
        event(PREFETCHED, 0.0),
        event(PREFETCHED, 5.0),
        event(FRESH, 9.0, reason="pinned"),
        event(FRESH, 9.0, committed=False),
    ]
    found = prefetch._figures(events, [1.0, 2.0], guesses=4)
    assert (found["swaps"], found["failed"], found["lay_ready"]) == (3, 1, 1)
    assert found["hit_rate"] == 2 / 3
    assert (found["ready_ms"]["max"], found["step_ms"]["count"]) == (80.0, 2)


def test_laps_go_on_in_time():
    frames = prefetch.drive_frames(seconds=8.0, fps=2.0, laps=2)
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(set(stamps))
    assert {b - a for a, b in pairwise(stamps)} == {500_000_000}


def test_a_run_takes_as_long_as_its_frames(tiny):
    frames = prefetch.drive_frames(seconds=8.0, fps=4.0, laps=1)[:8]
    config = Config(bundle=str(tiny.root), engine="onnx")
    found = prefetch.play(frames, config)
    assert found["step_ms"]["count"] == len(frames)
    assert found["failed"] == 0
