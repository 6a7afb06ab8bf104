"""A recording that loops, or a simulation set back, while the scene becomes another one."""

from dataclasses import replace

import pytest

S = 1_000_000_000


def back(frames, by_s):
    return [replace(frame, stamp_ns=frame.stamp_ns - round(by_s * S)) for frame in frames]


@pytest.mark.parametrize("by_s", [2.2, 4.0, 60.0])
def test_no_later_observation_vouches_for_a_frame_and_no_filter_mixes_both(
    world, make_frames, by_s
):
    with world.pipeline(ema_time_s=30.0) as pipeline:
        for frame in make_frames(*["red"] * 10, start=1000):
            pipeline.step(frame)
        dark = back(make_frames(*["blue"] * 4, start=1010), by_s)
        results = [pipeline.step(frame) for frame in dark]
        assert [r.support.level for r in results[:2]] == ["STALE", "STALE"]
        assert results[1].estimate is None, "the stream starts anew"
        assert pipeline.health.stamps.restarts == 1
    assert all(r.support.observed_ns < dark[3].stamp_ns for r in results[2:])
    assert (results[2].estimate.embedding == results[2].estimate.raw_embedding).all()


def test_one_frame_from_further_back_is_doubted_and_the_stream_goes_on(world, make_frames):
    frames = make_frames(*["red"] * 10, start=1000)
    frames[5:6] = back(frames[5:6], 2.2)
    with world.pipeline() as pipeline:
        levels = [pipeline.step(frame).support.level for frame in frames]
        assert pipeline.health.stamps.restarts == 0
    assert [n for n, level in enumerate(levels) if level == "STALE"] == [0, 5]


def test_how_late_a_frame_may_be_changes_live(world, make_frames, make_config):
    frames = make_frames(*["red"] * 10, start=1000)
    frames[5:6] = back(frames[5:6], 2.2)
    with world.pipeline() as pipeline:
        pipeline.configure(make_config(support_max_age_s=3.0))
        levels = [pipeline.step(frame).support.level for frame in frames]
    assert levels[5] == "OK"
