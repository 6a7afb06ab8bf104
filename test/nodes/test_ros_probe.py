"""The camera that misbehaves: each way of being broken is one that the node refuses."""

from itertools import pairwise

import numpy as np
import pytest

from semla_ros.bench.drill.probe_camera import Script, message_of
from semla_ros.core.errors import FrameError, SemlaError
from semla_ros.nodes.conversions import frame_from_compressed, frame_from_image

S = 10**9
COUNTS = {"day": 3, "night": 2}


@pytest.mark.parametrize("broken", ["encoding", "truncated", "step", "nan"])
def test_broken_images_are_refused_and_whole_ones_are_not(scene, broken):
    whole = message_of(scene, broken="", compressed=False)
    np.testing.assert_array_equal(frame_from_image(whole, max_pixels=10**6).rgb, scene)
    with pytest.raises(FrameError):
        frame_from_image(message_of(scene, broken=broken, compressed=False), max_pixels=10**6)


def test_a_jpeg_is_whole_or_cut(scene):
    whole = message_of(scene, broken="", compressed=True)
    assert frame_from_compressed(whole, max_pixels=10**6).rgb.shape == scene.shape
    cut = message_of(scene, broken="truncated", compressed=True)
    with pytest.raises(FrameError):
        frame_from_compressed(cut, max_pixels=10**6)


def test_an_unknown_way_of_being_broken_is_named(scene):
    with pytest.raises(SemlaError, match="nonsense"):
        message_of(scene, broken="nonsense", compressed=False)


def played(count, **order):
    script = Script({"hz": 5, "pictures": ["day"], "sizes": [[4, 6]], **order})
    return [script.next(COUNTS) for _ in range(count)]


def test_pictures_sizes_and_damage_come_in_turns():
    frames = [picture for picture, _ in played(4, sizes=[[4, 6], [8, 8]], broken="step", every=2)]
    assert [f.number for f in frames] == [0, 1, 2, 0]
    assert [f.size for f in frames] == [(4, 6), (8, 8)] * 2
    assert [f.broken for f in frames] == ["step", ""] * 2
    assert {f.group for f, _ in played(3, pictures=["night", "day"], turn_s=100.0)} == {"night"}


def test_stamps_are_as_the_order_says():
    assert [stamp for _, stamp in played(2, stamps="zero")] == [0, 0]
    assert len({stamp for _, stamp in played(3, stamps="constant")}) == 1
    now = [stamp for _, stamp in played(4)]
    assert now == sorted(now)
    ahead = [stamp for _, stamp in played(4, offset_s=300.0, offset_every=2)]
    assert [round((b - a) / (100 * S)) for a, b in pairwise(ahead)] == [3, -3, 3]
    loop = [stamp for _, stamp in played(200, stamps="loop", loop_s=1e-6)]
    assert max(loop) - min(loop) < 1000
