"""A disk that goes away while frames flow, with room for one adapter in memory."""

import itertools
import logging

import pytest

from semla_ros.core.types import AdapterMix
from semla_ros.pipeline.retry import FIRST_WAIT_NS, LONGEST_WAIT_NS

ONE_ADAPTER = 32  # bytes of factors: rank 1, one layer of 4 x 4


def only(name: str) -> AdapterMix:
    return AdapterMix((name,), (1.0,))


@pytest.fixture
def bounded(world):
    world.memory_bytes = ONE_ADAPTER
    return world


class Drive:
    """Steps frames and remembers what served and which swaps there were."""

    def __init__(self, pipeline, make_frames):
        self.pipeline, self.make_frames = pipeline, make_frames
        self.frames, self.swaps = 0, []

    def see(self, color, count=3):
        for _ in range(count):
            (frame,) = self.make_frames(color, start=self.frames)
            self.frames += 1
            result = self.pipeline.step(frame)
            self.swaps += result.swaps
        return result.mix.names[0]

    def wait(self, color, ns):
        return self.see(color, count=ns // 100_000_000 + 1)


def away(world):
    world.root.joinpath("library").rename(world.root / "away")


def back(world):
    world.root.joinpath("away").rename(world.root / "library")


def test_what_is_held_serves_and_the_rest_comes_back(bounded, make_frames, caplog):
    caplog.set_level(logging.INFO, logger="semla_ros")
    with bounded.pipeline() as pipeline:
        drive = Drive(pipeline, make_frames)
        assert drive.see("red") == "red"
        away(bounded)
        for _ in range(3):
            assert drive.see("blue") == "red"
            assert drive.see("green") == "red"
            assert drive.see("red") == "red"
        failed = [s for s in drive.swaps if not s.committed]
        assert len(failed) == 1
        assert set(pipeline.health.unusable) == {"blue", "green"}
        assert set(pipeline.health.retried) == {"blue", "green"}
        told = [r for r in caplog.records if "cannot be loaded" in r.getMessage()]
        assert len(told) == 1
        assert told[0].levelno == logging.ERROR
        assert all(name in told[0].getMessage() for name in ("blue", "green", "is gone"))

        back(bounded)
        drive.wait("red", LONGEST_WAIT_NS)
        assert not pipeline.health.unusable
        told = [r for r in caplog.records if "can be loaded again" in r.getMessage()]
        assert len(told) == 1
        drive.swaps.clear()
        for color in ("blue", "green", "red", "blue"):
            assert drive.see(color) == color
        assert [s.committed for s in drive.swaps] == [True] * 4


def test_a_short_absence_is_over_after_a_second(bounded, make_frames):
    with bounded.pipeline() as pipeline:
        drive = Drive(pipeline, make_frames)
        drive.see("red")
        away(bounded)
        drive.see("blue")
        back(bounded)
        drive.wait("blue", FIRST_WAIT_NS)
        assert drive.see("blue") == "blue"


def test_tries_are_rarer_and_rarer_and_follow_stream_time(bounded, make_frames):
    with bounded.pipeline() as pipeline:
        drive = Drive(pipeline, make_frames)
        drive.see("red")
        looks = []
        gone = pipeline.library.gone
        pipeline.library.gone = lambda: looks.append(drive.frames * 0.1) or gone()
        away(bounded)
        drive.wait("blue", 40_000_000_000)
        assert looks[0] == pytest.approx(0.5)
        pauses = [b - a for a, b in itertools.pairwise(looks)]
        assert pauses == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0], abs=0.11)


def test_a_damaged_adapter_serves_again_once_it_is_mended(bounded, make_frames, caplog):
    caplog.set_level(logging.INFO, logger="semla_ros")
    file = bounded.root / "library" / "blue" / "adapter_model.safetensors"
    whole = file.read_bytes()
    with bounded.pipeline() as pipeline:
        drive = Drive(pipeline, make_frames)
        file.write_bytes(b"torn")
        assert drive.see("blue") != "blue"
        drive.wait("blue", 5_000_000_000)
        assert set(pipeline.health.unusable) == {"blue"}
        assert sum("blue" in r.getMessage() and r.levelno >= logging.ERROR for r in caplog.records)
        assert len([r for r in caplog.records if "cannot be loaded" in r.getMessage()]) == 1
        file.write_bytes(whole)
        drive.wait("blue", LONGEST_WAIT_NS)
        assert drive.see("blue") == "blue"
        assert not pipeline.health.unusable


def test_what_serves_is_not_left_because_its_file_is_gone(bounded, make_frames):
    with bounded.pipeline() as pipeline:
        drive = Drive(pipeline, make_frames)
        assert drive.see("red") == "red"
        pipeline.library._memory.clear()
        away(bounded)
        future = pipeline.set_vocabulary(["car"])
        assert drive.see("red") == "red"
        assert not future.result(0).committed
        assert "red" in pipeline.health.unusable
        assert drive.see("red", 5) == "red"
        assert drive.see("blue", 5) == "red"


def test_an_excluded_adapter_is_left_also_when_its_file_is_gone(bounded, make_frames, make_config):
    with bounded.pipeline() as pipeline:
        drive = Drive(pipeline, make_frames)
        assert drive.see("red") == "red"
        away(bounded)
        pipeline.library._memory.clear()
        pipeline.configure(make_config(exclude="red"))
        assert drive.see("red") == "base"


def test_reloading_tries_again_at_once(bounded, make_frames):
    with bounded.pipeline() as pipeline:
        drive = Drive(pipeline, make_frames)
        drive.see("red")
        away(bounded)
        drive.wait("blue", 20_000_000_000)
        back(bounded)
        future = pipeline.reload_library()
        assert drive.see("blue") == "blue"
        assert future.result(0).committed


def test_a_drive_over_a_failing_disk_repeats_to_the_byte(bounded, make_frames):
    def drive_once():
        with bounded.pipeline() as pipeline:
            drive = Drive(pipeline, make_frames)
            served = [drive.see("red")]
            away(bounded)
            served += [drive.see("blue", 1) for _ in range(30)]
            back(bounded)
            served += [drive.see("blue", 1) for _ in range(60)]
            return served, [(s.stamp_ns, s.to_mix, s.committed) for s in drive.swaps]

    assert drive_once() == drive_once()
