"""What was said to a node comes back out of its recording."""

import pytest

from semla_ros.core.errors import BagError
from semla_ros.data.bags import hints
from semla_ros.data.bags.hints import STRING, RecordedHint, read_hints
from semla_ros.data.bags.messages import HINT, header_fields
from semla_ros.data.bags.writer import BagWriter

S = 10**9


def stamped(text, stamp_ns, ttl_s=0.0):
    return {"header": header_fields(stamp_ns, ""), "text": text, "ttl_s": ttl_s}


@pytest.fixture
def bag(tmp_path):
    path = tmp_path / "drive.mcap"
    with BagWriter(path) as out:
        out.write(
            "/robot/segmenter/hint_stamped", HINT, stamped("Schnee – früh", 4 * S, 2.5), 5 * S
        )
        out.write("/segmenter/hint", STRING, {"data": "fog"}, 3 * S)
        out.write("/chatter", STRING, {"data": "no hint"}, 1 * S)
        out.write("/segmenter/hint", STRING, {"data": ""}, 9 * S)
    return path


def test_hints_come_in_the_order_they_were_recorded(bag):
    assert read_hints(bag) == (
        RecordedHint(3 * S, "fog"),
        RecordedHint(5 * S, "Schnee – früh", 2.5, 4 * S),
        RecordedHint(9 * S, ""),
    )


def test_a_recording_without_any_has_none(tmp_path):
    with BagWriter(tmp_path / "a.mcap") as out:
        out.write("/chatter", STRING, {"data": "x"}, 1)
    assert read_hints(tmp_path / "a.mcap") == ()


def test_a_stamp_that_is_no_time_leaves_one_hint_out(tmp_path, caplog):
    bad = stamped("fog", 0)
    bad["header"]["stamp"]["sec"] = -5
    with BagWriter(tmp_path / "a.mcap") as out:
        out.write("/s/hint_stamped", HINT, bad, 1)
        out.write("/s/hint_stamped", HINT, stamped("rain", 0), 2)
    assert read_hints(tmp_path / "a.mcap") == (RecordedHint(2, "rain"),)
    assert "left out: its header stamp is no time" in caplog.text


def test_endless_hints_are_refused(bag, monkeypatch):
    monkeypatch.setattr(hints, "MAX_HINTS", 2)
    with pytest.raises(BagError, match="at most 2 hints"):
        read_hints(bag)
