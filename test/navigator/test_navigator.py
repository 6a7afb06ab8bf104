"""The navigator as a whole: frames in, estimates out, the same every time."""

import numpy as np
import pytest

from semla_ros.core.errors import AdapterMismatchError, ConfigError
from semla_ros.core.types import AdapterMix, Frame
from semla_ros.navigator.distance import CentroidBank
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.navigator.navigator import Navigator

S = 1_000_000_000


class MeanColor:
    """An encoder one can compute by hand: the mean RGB."""

    identity = "mean-color"
    dim = 3

    def encode(self, rgb):
        return rgb.mean(axis=(0, 1)).astype(np.float32)


BANK = CentroidBank(("dark", "light"), np.array([[0.0, 0, 0], [200.0, 200, 200]]))


def frame(stamp_ns, level):
    return Frame(stamp_ns, "camera", np.full((4, 6, 3), level, np.uint8))


@pytest.fixture
def navigator():
    return Navigator(MeanColor(), BANK, distance="euclidean", time_constant_s=1.0, max_gap_s=5.0)


def observe(navigator, stamp_ns, level):
    return navigator.update(stamp_ns, navigator.embed(frame(stamp_ns, level)))


def test_the_first_estimate_is_the_frame_itself(navigator):
    estimate = observe(navigator, 7, 100)
    np.testing.assert_allclose(estimate.embedding, [100, 100, 100])
    np.testing.assert_allclose(estimate.distances, np.sqrt(3) * np.array([100, 100]))
    np.testing.assert_array_equal(estimate.distances, estimate.raw_distances)
    assert (estimate.stamp_ns, estimate.names) == (7, ("dark", "light"))


def test_raw_is_the_newest_frame_and_the_rest_lags(navigator):
    observe(navigator, 0, 0)
    estimate = observe(navigator, S, 200)
    np.testing.assert_array_equal(estimate.raw_embedding, [200, 200, 200])
    np.testing.assert_allclose(estimate.raw_distances, [np.sqrt(3) * 200, 1e-6])
    share = 1 - np.exp(-1)
    np.testing.assert_allclose(estimate.distances, np.sqrt(3) * 200 * np.array([share, 1 - share]))


def test_reset_forgets(navigator):
    observe(navigator, 0, 0)
    navigator.reset()
    np.testing.assert_allclose(observe(navigator, 1, 200).embedding, 200)


def test_a_loop_gives_the_same_estimates(navigator):
    levels = [0, 30, 200, 180, 90]
    first, second = (
        [observe(navigator, i * S // 3, level).distances for i, level in enumerate(levels)]
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_embedding_changes_nothing(navigator):
    observe(navigator, 0, 0)
    navigator.embed(frame(S, 255))
    np.testing.assert_allclose(observe(navigator, 2, 0).embedding, 0)


def test_another_library_keeps_the_filter(navigator):
    observe(navigator, 0, 0)
    other = CentroidBank(("grey",), np.full((1, 3), 100.0))
    navigator.replace_bank(other, distance="cosine")
    estimate = observe(navigator, S, 200)
    assert navigator.bank is other
    assert estimate.names == ("grey",)
    np.testing.assert_allclose(estimate.embedding, 200 * (1 - np.exp(-1)), rtol=1e-6)
    np.testing.assert_allclose(estimate.distances, 1e-6, atol=1e-6)


def test_other_times_keep_what_was_seen(navigator):
    observe(navigator, 0, 0)
    navigator.set_filter(time_constant_s=2.0, max_gap_s=50.0)
    estimate = observe(navigator, 20 * S, 200)
    np.testing.assert_allclose(estimate.embedding, 200 * (1 - np.exp(-10)), rtol=1e-6)
    with pytest.raises(ConfigError, match="time constant"):
        navigator.set_filter(time_constant_s=-1.0, max_gap_s=50.0)


def test_reading_the_support(navigator):
    estimate = observe(navigator, 0, 0)
    mix = AdapterMix(("light",), (1.0,))
    reading = navigator.read(estimate, mix, low=0.01, out_of_library=50.0)
    assert reading.score == pytest.approx(1 / (np.sqrt(3) * 200))
    assert (reading.nearest, reading.level) == ("dark", "LOW")


def test_an_unknown_distance_is_refused(navigator):
    with pytest.raises(ConfigError, match="'manhattan'"):
        navigator.replace_bank(BANK, distance="manhattan")


def test_centroids_of_another_encoder_are_refused(navigator):
    with pytest.raises(AdapterMismatchError, match=r"length 3 .*mean-color.*got 4"):
        navigator.replace_bank(CentroidBank(("a",), np.ones((1, 4))), distance="euclidean")


def test_with_a_real_encoder(make_bundle):
    encoder = OnnxImageEncoder(make_bundle(), threads=1)
    rng = np.random.default_rng(0)
    seen = Frame(0, "camera", rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    bank = CentroidBank(("far", "here"), np.stack([np.full(4, 99.0), encoder.encode(seen.rgb)]))
    navigator = Navigator(encoder, bank, distance="euclidean", time_constant_s=1.0, max_gap_s=5.0)
    estimate = navigator.update(0, navigator.embed(seen))
    assert navigator.encoder is encoder
    assert estimate.names[int(np.argmin(estimate.distances))] == "here"
