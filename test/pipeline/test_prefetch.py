"""The likely next mix is prepared while the policy still counts, and only in the background."""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.answers import PREFETCHED
from semla_ros.executors import InlineExecutor
from semla_ros.types import AdapterMix, Frame

SLOW = {"trigger_consecutive": 3, "ema_time_s": 1.0}


def only(name: str) -> AdapterMix:
    return AdapterMix((name,), (1.0,))


def ahead(world, **changes):
    """A pipeline in background mode whose background works at once."""
    settings = {**SLOW, "adaptation": "background", **changes}
    return world.pipeline(InlineExecutor(), InlineExecutor(), **settings)


def record(world):
    seen, whole = [], world.engine._prepare_impl

    def recording(index, weight_set):
        seen.append(weight_set.mix.names[0])
        whole(index, weight_set)

    world.engine._prepare_impl = recording
    return seen


DRIVE = ("red",) * 12 + ("blue",) * 25 + ("red",) * 25


def events(pipeline, frames):
    return [event for frame in frames for event in pipeline.step(frame).swaps]


def test_the_set_lies_ready_when_the_policy_has_made_up_its_mind(world, make_frames):
    with ahead(world) as pipeline:
        swaps = events(pipeline, make_frames(*DRIVE))
    assert [s.to_mix for s in swaps] == [only("red"), only("blue"), only("red")]
    assert all(s.committed for s in swaps)
    assert {s.origin for s in swaps[1:]} == {PREFETCHED}
    assert all(s.ready_ms == 0 and s.deviation <= 0.25 for s in swaps[1:])


def test_the_swaps_are_those_of_a_pipeline_that_does_not_look_ahead(world, make_frames):
    def swaps(**changes):
        with ahead(world, **changes) as pipeline:
            return [(e.stamp_ns, e.to_mix) for e in events(pipeline, make_frames(*DRIVE))]

    assert swaps() == swaps(prefetch=False)


def test_nothing_is_published_that_was_not_asked_for(world, make_frames):
    """A short glimpse of another domain prepares its set and goes by."""
    with ahead(world, trigger_consecutive=6) as pipeline:
        seen = record(world)
        glimpse = ("red",) * 15 + ("blue",) * 4 + ("red",) * 12
        swaps = events(pipeline, make_frames(*glimpse))
        assert "blue" in seen
        assert [s.to_mix for s in swaps] == [only("red")]
        assert pipeline.active == only("red")


@pytest.mark.parametrize(
    "changes",
    [
        {"prefetch": False},
        {"adaptation": "inline"},
        {"prefetch_tolerance": 0.0},
        {"swap_policy": "always"},
        {"swap_policy": "never"},
    ],
    ids=str,
)
def test_where_it_is_off_only_what_is_asked_for_is_prepared(world, make_frames, changes):
    with ahead(world, **changes) as pipeline:
        seen = record(world)
        swaps = events(pipeline, make_frames(*DRIVE))
    assert [s.to_mix.names[0] for s in swaps] == seen
    assert all(s.origin == "fresh" and s.deviation == 0 for s in swaps)


def test_inline_gives_the_same_bytes_with_and_without(world, make_frames):
    def masks(prefetch):
        with ahead(world, adaptation="inline", prefetch=prefetch) as pipeline:
            return [pipeline.step(frame) for frame in make_frames(*DRIVE)]

    for one, other in zip(masks(True), masks(False), strict=True):
        assert one.mix == other.mix
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.confidence, other.confidence)


def test_it_can_be_turned_off_while_frames_flow(world, make_frames):
    with ahead(world) as pipeline:
        frames = make_frames(*DRIVE)
        events(pipeline, frames[:12])
        pipeline.configure(replace(pipeline.config, prefetch=False))
        swaps = events(pipeline, frames[12:])
    assert all(s.origin != PREFETCHED for s in swaps)


def test_a_pinned_mix_is_left_alone(world, make_frames):
    with ahead(world) as pipeline:
        pipeline.pin(only("green"))
        events(pipeline, make_frames("green"))
        seen = record(world)
        events(pipeline, make_frames(*DRIVE, start=1))
        assert not seen
        assert pipeline.active == only("green")


def test_an_excluded_adapter_does_not_come_back_with_a_mix_that_served_before(world):
    """Two near blends have served; the first swap that leaves the adapter must be the last."""
    blended = {"temperature": 30.0, "similarity": "neg_distance", "top_k": 3}
    thresholds = {"swap_trigger": 0.05, "swap_release": 0.02}
    config = {**blended, **thresholds, "adaptation": "background"}
    colours = [(100, 130, 20)] * 3 + [(105, 126, 20)] * 13
    frames = [
        Frame(i * 10**8, "c", np.full((8, 8, 3), c, np.uint8)) for i, c in enumerate(colours)
    ]
    with world.pipeline(InlineExecutor(), InlineExecutor(), **config) as pipeline:
        assert len(events(pipeline, frames[:6])) == 2
        assert "blue" in pipeline.active.names
        pipeline.configure(replace(pipeline.config, exclude="blue"))
        assert len(events(pipeline, frames[6:])) == 1
        assert set(pipeline.active.names) == {"green", "red"}
