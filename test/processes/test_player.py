"""The player reads a recording as it plays it."""

import struct
import time
from types import SimpleNamespace

import pytest

from semla_ros.data.bags.recording import StoredMessage
from semla_ros.processes import player
from semla_ros.processes.player import Player

PERIOD_NS = 100_000_000
RAW = "sensor_msgs/msg/Image"


@pytest.fixture
def recording(monkeypatch):
    """A recording of 8 images; what was read of it so far, and how long each read takes."""
    state = SimpleNamespace(read=0, opened=0, slow={})

    def read(_, *, topic):
        assert topic is None
        state.opened += 1
        for number in range(8):
            time.sleep(state.slow.get(number, 0.0))
            state.read += 1
            data = b"\0\1\0\0" + struct.pack("<iI", 1, number)
            yield StoredMessage(RAW, number * PERIOD_NS, data, False)

    monkeypatch.setattr(player, "read_serialized", read)
    return state


def played(recording, *words):
    """Return number, time and images read so far of each message that was published."""
    sent, start = [], time.monotonic()
    images = SimpleNamespace(
        publish=lambda data: sent.append((data[8], time.monotonic() - start, recording.read))
    )
    it = SimpleNamespace(_stop=False, _images=images, _clock_publisher=None)
    args = player._arguments(["drive.mcap", *words])
    Player.play(it, player._messages(args), hz=args.hz, speed=args.speed)
    return sent


def test_it_reads_no_further_than_the_next_image(recording):
    sent = played(recording, "--hz", "1000")
    assert [number for number, _, _ in sent] == list(range(8))
    assert all(read <= index + 2 for index, (_, _, read) in enumerate(sent))


def test_the_first_images_again_and_again(recording):
    sent = played(recording, "--hz", "1000", "--count", "3", "--loop", "2")
    assert [number for number, _, _ in sent] == [0, 1, 2, 0, 1, 2]
    assert (recording.opened, recording.read) == (2, 6)


def test_a_slow_read_delays_none_of_the_images_after_it(recording):
    recording.slow = {3: 0.35}
    times = [passed for _, passed, _ in played(recording)]
    assert times[3] > 0.5
    assert 0.7 <= times[7] < 0.85, "due 0.7 s after the first, as without the slow read"


def test_fewer_images_than_none_is_refused(caplog):
    assert player.main(["drive.mcap", "--count", "-1"]) == 2
    assert "--count >= 0" in caplog.text
