"""A replay records every frame once, skips with reasons, and keeps what it has when it ends."""

import dataclasses

import numpy as np
import pytest

from semla_ros.core.errors import BagError, EngineError, FrameError
from semla_ros.core.types import AdapterMix
from semla_ros.data.bags.reader import SkippedFrame
from semla_ros.evaluation.replay import FrameView, mask_crc32, replay
from semla_ros.evaluation.result import RunInfo

INFO = RunInfo("made here")


class Collect:
    def __init__(self):
        self.views = []

    def add(self, view):
        self.views.append(view)


def test_every_frame_is_recorded_in_order(support):
    frames, sink, progress = support.frames(5), Collect(), []
    result = replay(
        support.pipeline(),
        frames,
        info=INFO,
        sinks=[sink],
        progress=lambda done, skipped: progress.append((done, skipped)),
    )
    assert [f.stamp_ns for f in result.frames] == [f.stamp_ns for f in frames]
    assert [f.index for f in result.frames] == list(range(5))
    assert [f.mix for f in result.frames] == [AdapterMix.base_only()] * 2 + [support.fog] * 3
    assert [s.stamp_ns for s in result.swaps] == [frames[2].stamp_ns]
    assert [v.frame for v in sink.views] == frames
    assert progress == [(i, 0) for i in range(1, 6)]
    assert result.ended_early == ""
    record = result.frames[1]
    assert record.timings_ms["infer"] == 1.5
    assert record.timings_ms["step"] > 0
    assert record.mask_crc32 == mask_crc32(sink.views[1].result.labels)


def test_two_replays_decide_the_same(support):
    one, other = (replay(support.pipeline(), support.frames(5), info=INFO) for _ in range(2))
    assert one.digest() == other.digest()


def test_skipped_frames_keep_their_place_and_reason(support):
    first, second, third = support.frames(3)
    pipeline = support.pipeline(refuse=(1,), error=FrameError("all black"))
    items = [first, SkippedFrame(7, "broken JPEG"), second, third]
    result = replay(pipeline, items, info=INFO)
    assert [f.index for f in result.frames] == [0, 3]
    assert [(s.index, s.reason) for s in result.skipped] == [(1, "broken JPEG"), (2, "all black")]
    assert result.skipped[0].stamp_ns == 7


@pytest.mark.parametrize("error", [EngineError("out of memory"), KeyboardInterrupt()])
def test_what_was_done_is_kept_and_marked(support, error):
    pipeline = support.pipeline(fail_at=3, error=error)
    result = replay(pipeline, support.frames(6), info=INFO)
    assert len(result.frames) == 3
    assert result.ended_early in ("out of memory", "interrupted by the user")


def test_a_recording_that_cannot_be_opened_raises(support):
    def frames():
        raise BagError("no such bag")
        yield

    with pytest.raises(BagError, match="no such bag"):
        replay(support.pipeline(), frames(), info=INFO)


def test_no_frames_is_a_result(support):
    assert replay(support.pipeline(), [], info=INFO).summary()["frames"]["read"] == 0


def test_equal_masks_have_equal_checksums():
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert mask_crc32(mask) == mask_crc32(np.asfortranarray(mask))
    others = [mask.reshape(4, 3), mask + 1, mask.astype(np.uint16)]
    assert len({mask_crc32(m) for m in (mask, *others)}) == 4
    assert mask_crc32(mask.astype(">u2")) != mask_crc32(mask.astype("<u2") + 1)


def test_pictures_of_a_frame(support):
    view = support.views(1)[0]
    np.testing.assert_array_equal(view.mask_rgb, support.vocabulary.colors[view.result.labels])
    half = (view.frame.rgb.astype(float) + view.mask_rgb) / 2
    assert np.abs(view.overlay - half).max() <= 1


def test_pictures_where_the_pipeline_answers_at_network_size(support):
    view = support.views(1)[0]
    small = dataclasses.replace(view.result, labels=view.result.labels[::2, ::2])
    scaled = FrameView(view.frame, small)
    assert scaled.overlay.shape == view.frame.rgb.shape
    np.testing.assert_array_equal(scaled.labels[::2, ::2], small.labels)
