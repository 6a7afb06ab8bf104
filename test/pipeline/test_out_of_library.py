"""Outside the library the base serves, if it is told to, and adaptation comes back inside.

The world's threshold is a distance of 150; grey is 187 away from every colour.
"""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.bundle import ModelBundle
from semla_ros.core.config import updated
from semla_ros.core.types import BASE, AdapterMix, Frame

FRAME_NS = 100_000_000
EDGE = 150.0


def served(results):
    return [result.mix.names[0] for result in results]


def run(pipeline, frames):
    return [pipeline.step(frame) for frame in frames]


def away(*distances: float, start: int = 0) -> list[Frame]:
    """Return frames that lie so far from red, and further from every other colour."""
    made = []
    for index, distance in enumerate(distances, start=start):
        rgb = np.zeros((8, 8, 3), np.uint8)
        rgb[..., 0] = 200
        rgb[..., 1:] = round(distance / np.sqrt(2))
        made.append(Frame(index * FRAME_NS, "camera", rgb))
    return made


def test_by_default_the_retrieved_mix_serves_there_too(world, make_frames):
    with world.pipeline() as pipeline:
        results = run(pipeline, make_frames("red", "red", "grey", "grey", "grey"))
    assert results[-1].support.level == "OUT_OF_LIBRARY"
    assert BASE not in served(results)[1:]


def test_the_base_serves_outside_and_adaptation_comes_back(world, make_frames):
    frames = make_frames("red", "red", "grey", "grey", "grey", "blue", "blue")
    with world.pipeline(out_of_library_mix="base") as pipeline:
        results = run(pipeline, frames)
    assert served(results) == [BASE, "red", "red", BASE, BASE, BASE, "blue"]
    swaps = [(s.to_mix.names[0], s.reason) for r in results for s in r.swaps]
    assert swaps == [("red", "domain"), (BASE, "out_of_library"), ("blue", "domain")]


def test_the_policy_must_be_sure_of_it(world, make_frames):
    frames = make_frames("red", "red", "red", "red", "grey", *["red"] * 3, *["grey"] * 6)
    with world.pipeline(out_of_library_mix="base", trigger_consecutive=3) as pipeline:
        results = run(pipeline, frames)
    assert served(results)[3:] == ["red"] * 8 + [BASE] * 3, "one grey frame is no reason"
    assert results[-3].swaps[0].detection_ms == pytest.approx(200.0)


def test_it_takes_a_clearly_nearer_frame_to_come_back(world):
    near_the_edge = [EDGE * 1.02, EDGE * 0.98] * 6
    frames = away(60, 60, *near_the_edge, EDGE * 0.85, EDGE * 0.85)
    with world.pipeline(out_of_library_mix="base") as pipeline:
        results = run(pipeline, frames)
    assert served(results) == [BASE, "red", "red", *[BASE] * 12, "red"]


def test_without_a_threshold_nothing_is_outside(world, make_frames):
    manifest = world.bundle.manifest
    defaults = replace(manifest.defaults, out_of_library=0.0)
    world.bundle = ModelBundle(world.root, replace(manifest, defaults=defaults))
    with world.pipeline(out_of_library_mix="base") as pipeline:
        results = run(pipeline, make_frames("grey", "grey", "grey"))
    assert BASE not in served(results)[1:]


def test_left_out_adapters_cannot_keep_a_frame_inside(world, make_frames):
    with world.pipeline(out_of_library_mix="base") as pipeline:
        inside = run(pipeline, make_frames("red", "red"))
        pipeline.configure(updated(pipeline.config, {"exclude": "red"}))
        outside = run(pipeline, make_frames("red", "red", "red", start=2))
    assert (served(inside)[-1], served(outside)[-1]) == ("red", BASE)


def test_it_changes_while_frames_flow(world):
    beyond = away(*[EDGE * 1.1] * 9)
    with world.pipeline() as pipeline:
        first = run(pipeline, beyond[:3])
        pipeline.configure(updated(pipeline.config, {"out_of_library_mix": "base"}))
        second = run(pipeline, beyond[3:6])
        pipeline.configure(updated(pipeline.config, {"out_of_library_mix": "retrieved"}))
        third = run(pipeline, beyond[6:])
    assert served(second)[-1] == BASE
    assert served(first)[-1] == served(third)[-1] == "red"


def test_a_mix_by_hand_stays_and_letting_go_leads_to_the_base(world, make_frames):
    with world.pipeline(out_of_library_mix="base") as pipeline:
        run(pipeline, make_frames("red", "red"))
        pipeline.pin(AdapterMix(("green",), (1.0,)))
        pinned = run(pipeline, make_frames(*["grey"] * 4, start=2))
        pipeline.unpin()
        (after,) = run(pipeline, make_frames("grey", start=6))
    assert served(pinned) == ["green"] * 4
    assert (after.mix, after.swaps[0].reason) == (AdapterMix.base_only(), "unpinned")


def test_a_recording_that_begins_again_is_judged_anew(world):
    with world.pipeline(out_of_library_mix="base", max_gap_s=0.1) as pipeline:
        out = run(pipeline, away(EDGE * 1.1, EDGE * 1.1, EDGE * 1.1))
        again = run(pipeline, away(EDGE * 0.95, EDGE * 0.95, EDGE * 0.95))
    assert served(out) == [BASE] * 3
    assert served(again) == [BASE, BASE, "red"], "in the band, but never outside in this run"
