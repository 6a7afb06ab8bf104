"""A replay hears what the node heard, when it heard it."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from semla_ros.core.errors import LibraryError
from semla_ros.core.types import Frame
from semla_ros.data.bags.definitions import typestore_with
from semla_ros.data.bags.hints import STRING, RecordedHint
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.reader import SkippedFrame
from semla_ros.data.bags.writer import BagWriter
from semla_ros.evaluation.replay import with_hints
from semla_ros.evaluation.run import ReplayRequest, run_replay

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo"
PIXELS = np.full((24, 32, 3), 120, np.uint8)
S = 10**9


class Listener:
    def __init__(self):
        self.heard = []

    def hint(self, text, *, ttl_s, stamp_ns):
        self.heard.append((text, ttl_s, stamp_ns))
        answer = Future()
        if text == "far":
            answer.set_exception(LibraryError("speaks of no domain"))
        else:
            answer.set_result("for 1 s")
        return answer


def test_each_is_told_before_the_first_frame_that_came_after_it():
    frames = [
        Frame(0, "", PIXELS, arrival_ns=100),
        SkippedFrame(1, "broken"),
        Frame(2, "", PIXELS, arrival_ns=300),
        Frame(400, "", PIXELS),
    ]
    said = [
        RecordedHint(100, "a"),
        RecordedHint(200, "far", 1.0, 7),
        RecordedHint(350, "b"),
        RecordedHint(500, "late"),
    ]
    listener, notes, heard = Listener(), [], []
    for _ in with_hints(frames, said, listener, on_note=notes.append):
        heard.append([text for text, _, _ in listener.heard])
    assert heard == [["a"], ["a"], ["a", "far"], ["a", "far", "b"]]
    assert listener.heard[1] == ("far", 1.0, 7)
    assert notes[1:] == ["hint refused: speaks of no domain", "hint 'b': for 1 s"]


def replayed(folder, *, said):
    """Replay two seconds of the same grey picture, with words after half a second."""
    folder.mkdir()
    path = folder / "drive.mcap"
    with BagWriter(path) as bag:
        for i in range(20):
            at = i * S // 10
            fields = image_fields(PIXELS, stamp_ns=at + 1, frame_id="camera")
            bag.write("/camera", IMAGE, fields, at + 1)
            if i == 5 and said:
                bag.write("/segmenter/hint", STRING, {"data": said}, at + 2)
    changes = {"engine": "fake", "navigator_rate_hz": 0.0, "min_dwell_s": 0.0}
    out = folder / "out"
    request = ReplayRequest(path, out, bundle=DEMO, changes=changes, video=False, topic="/camera")
    return run_replay(request).result, out


@pytest.fixture(scope="module")
def hinted(tmp_path_factory):
    return replayed(tmp_path_factory.mktemp("hinted") / "a", said="a street on a snowy day")


def test_a_hint_in_a_recording_changes_the_mix_and_says_so(hinted):
    result, out = hinted
    assert result.frames[4].mix.names[0] != "snow-day"
    assert "snow-day" in {f.mix.names[0] for f in result.frames[6:]}
    assert "hint" in {swap.reason for swap in result.swaps}
    assert any("a street on a snowy day" in note for note in result.notes)
    with AnyReader([out / "predictions.mcap"], default_typestore=typestore_with()) as reader:
        topics = [c for c in reader.connections if c.topic == "/segmenter/mix"]
        states = [reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(topics)]
    shares = [s.hint_share for s in states if s.hint == "a street on a snowy day"]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] < shares[0] <= 1


def test_the_same_recording_gives_the_same_bytes(hinted, tmp_path):
    again, _ = replayed(tmp_path / "b", said="a street on a snowy day")
    assert again.digest() == hinted[0].digest()


def test_words_without_effect_change_nothing(tmp_path):
    results = [replayed(tmp_path / str(i), said=s)[0] for i, s in enumerate(("", "car, road"))]
    assert [f.mask_crc32 for f in results[0].frames] == [f.mask_crc32 for f in results[1].frames]
    assert [f.mix for f in results[0].frames] == [f.mix for f in results[1].frames]
    assert any("hint refused" in note for note in results[1].notes)
