"""An embedding that comes with the mask: believed where it is right, else the navigator runs."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.answers import Prediction
from semla_ros.core.errors import FrameError
from semla_ros.core.executors import BackgroundExecutor
from semla_ros.core.types import AdapterMix
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.pipeline.engines import shares_embedding
from semla_ros.pipeline.observer import Observer

RED = np.array([200.0, 0.0, 0.0], np.float32)


class Engine(FakeEngine):
    """Gives the mean colour of an image with its mask, `off` times as large, or nothing."""

    def __init__(self, off=1.0):
        super().__init__(size=(32, 32))
        self.off = off

    def infer(self, rgb, *, keep_logits=False):
        labels = np.zeros((32, 32), np.uint8)
        mean = None if self.off is None else self.off * rgb.reshape(-1, 3).mean(axis=0)
        mix = AdapterMix.base_only()
        return Prediction(labels, labels, mix, None, embedding=mean)


@pytest.fixture
def shared(world):
    manifest = world.bundle.manifest
    navigator = replace(manifest.navigator, shared=True)
    return replace(world.bundle, manifest=replace(manifest, navigator=navigator))


@pytest.mark.parametrize(
    ("off", "believed", "said"),
    [
        (1.0, True, ""),
        (1.0005, True, ""),
        (1.01, False, "embeds with an error of 0.01, over 0.001: it runs aside"),
        (np.nan, False, "embeds with an error of inf"),
        (None, False, "gives no embedding, it runs aside"),
    ],
)
def test_it_is_believed_once_it_is_the_navigators_own(world, shared, off, believed, said, caplog):
    with caplog.at_level(logging.INFO):
        assert shares_embedding(Engine(off), shared, world.encoder) is believed
    assert said in caplog.text


def test_what_a_bundle_does_not_share_is_not_asked_for(world):
    assert not shares_embedding(Engine(), world.bundle, world.encoder)
    assert world.encoder.seen == 0


@pytest.fixture
def observer(world):
    with world.pipeline() as pipeline:
        navigator = pipeline.adaptation.observer.navigator
    executor = BackgroundExecutor("test-navigator")
    yield Observer(navigator, executor)
    executor.shutdown()


def test_it_is_there_at_once_and_no_navigator_runs(world, observer, make_frames):
    (frame,) = make_frames("blue")
    observer.offer(frame, time_ns=5, rate_hz=0.0, embedding=RED)
    assert observer.ready
    estimate = observer.collect()
    np.testing.assert_array_equal(estimate.raw_embedding, RED)
    assert estimate.names[int(np.argmin(estimate.distances))] == "red"
    assert (observer.observed.time_ns, observer.observed.stamp_ns) == (5, frame.stamp_ns)
    assert world.encoder.seen == 0


def test_it_is_looked_at_as_often_as_asked(observer, make_frames):
    frames = make_frames(*["red"] * 11)
    seen = 0
    for frame in frames:
        observer.offer(frame, time_ns=frame.stamp_ns, rate_hz=5.0, embedding=RED)
        seen += observer.ready and observer.collect() is not None
    assert seen == 6


def test_one_that_is_not_finite_is_a_failure(observer, make_frames):
    (frame,) = make_frames("red")
    observer.offer(frame, time_ns=5, rate_hz=0.0, embedding=RED * np.nan)
    with pytest.raises(FrameError, match="no finite embedding"):
        observer.collect()
    assert observer.estimate is None
