"""OUT_OF_LIBRARY is judged by the novelty of single frames, filtered over time."""

import math

import numpy as np
import pytest

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.config import Config
from semla_ros.navigator.distance import CentroidBank
from semla_ros.navigator.navigator import Navigator
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.pipeline.unknown import UnknownWatch

PERIOD_NS = 200_000_000
EDGE = 5.0


class Recorded:
    identity, dim = "recorded", 2

    def encode(self, rgb):
        raise NotImplementedError


@pytest.fixture
def watch():
    """Return a function from embeddings to (novelty, outside) after each; two known domains."""
    centroids = np.array([[0.0, 0.0], [20.0, 0.0]])
    bank = CentroidBank(("one", "two"), centroids, whitening=np.eye(2))
    config = Config(ema_time_s=1.0, out_of_library=EDGE)
    defaults = AdaptationDefaults(0.1, 1, "euclidean", "inverse", -1.0, 0.0, 0.0)
    settings = LiveSettings.of(config, defaults)
    navigator = Navigator(
        Recorded(), bank, distance="euclidean", time_constant_s=1.0, max_gap_s=5.0
    )
    seen = UnknownWatch(config)

    def look(embeddings, *, start=0):
        found = []
        for number, each in enumerate(embeddings, start):
            estimate = navigator.update(number * PERIOD_NS, np.array(each, np.float32))
            seen.look(estimate, settings)
            found.append((seen.novelty, seen.outside))
        return found

    look.watch = seen
    return look


def test_unlike_unknown_frames_are_unknown_though_their_mean_is_known(watch):
    found = watch([(0.0, 9.0 * (-1) ** i) for i in range(40)])
    assert all(outside for _, outside in found)
    assert found[-1][0] == pytest.approx(9.0)


def test_a_change_from_one_known_domain_to_another_is_none(watch):
    found = watch([(0, 0)] * 20 + [(20, 0)] * 20)
    assert not any(outside for _, outside in found)
    assert found[-1][0] < 1e-3


def test_one_strange_frame_is_not_enough_and_a_place_is(watch):
    assert not any(o for _, o in watch([(0, 1)] * 10 + [(0, 12)] + [(0, 1)] * 10))
    found = watch([(0, 12)] * 10, start=21)
    assert [o for _, o in found][:2] == [False, False]
    assert found[-1][1]


def test_a_stream_that_starts_anew_has_seen_nothing(watch):
    watch([(0, 12)] * 20)
    watch.watch.reset()
    assert math.isnan(watch.watch.novelty)
    assert not watch.watch.outside
    assert watch([(0, 1)], start=20) == [(pytest.approx(1.0), False)]
