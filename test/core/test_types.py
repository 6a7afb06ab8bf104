"""The data that crosses rooms refuses what no room could use."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.answers import SupportReading
from semla_ros.core.errors import ConfigError, FrameError, LibraryError, VocabularyError
from semla_ros.core.types import BASE, AdapterMix, DomainEstimate, Frame, Vocabulary
from semla_ros.core.weights import UNCHANGED, WeightSet

NAMES = st.sampled_from(["fog", "night", "rain", "snow", BASE])
mixes = st.dictionaries(NAMES, st.floats(0.01, 1.0), min_size=1).map(AdapterMix.from_weights)


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=str,
)
def test_a_frame_is_an_rgb_image(rgb):
    with pytest.raises(FrameError, match="uint8"):
        Frame(0, "camera", rgb)


def test_nothing_that_crosses_rooms_can_be_changed():
    frame = Frame(0, "camera", np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.stamp_ns = 1


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        ((), ()),
        (("a",), ()),
        (("a", "a"), (0.5, 0.5)),
        (("a", "b"), (0.5, 0.6)),
        (("a", "b"), (1.5, -0.5)),
        (("a",), (math.nan,)),
    ],
)
def test_a_mix_is_a_distribution(names, weights):
    with pytest.raises(LibraryError, match="expected"):
        AdapterMix(names, weights)


@given(weights=st.dictionaries(NAMES, st.floats(0, 1e6), min_size=1))
def test_from_weights_normalises_sorts_and_drops_zeros(weights):
    if sum(weights.values()) <= 0:
        with pytest.raises(LibraryError, match="at least one above 0"):
            AdapterMix.from_weights(weights)
        return
    mix = AdapterMix.from_weights(weights)
    assert math.fsum(mix.weights) == pytest.approx(1.0)
    assert list(mix.weights) == sorted(mix.weights, reverse=True)
    assert set(mix.names) == {n for n, w in weights.items() if w / math.fsum(weights.values()) > 0}


@pytest.mark.parametrize(
    "bad", [{"a": -1.0, "b": 2.0}, {"a": math.inf}, {"a": math.nan}, {}, {"a": 1e308, "b": 1e308}]
)
def test_from_weights_refuses_what_cannot_be_normalised(bad):
    with pytest.raises(LibraryError, match="finite weights"):
        AdapterMix.from_weights(bad)


@given(a=mixes, b=mixes, c=mixes)
def test_difference_is_a_metric_in_0_to_1(a, b, c):
    assert 0 <= a.difference(b) <= 1 + 1e-9
    assert a.difference(b) == b.difference(a)
    assert a.difference(a) == 0
    assert a.difference(c) <= a.difference(b) + b.difference(c) + 1e-9


def test_difference_of_disjoint_mixes_is_one():
    assert AdapterMix(("a",), (1.0,)).difference(AdapterMix(("b",), (1.0,))) == 1.0


@given(weights=st.dictionaries(NAMES, st.floats(0.01, 1), min_size=1), seed=st.randoms())
def test_equal_mixes_have_equal_keys(weights, seed):
    shuffled = list(weights.items())
    seed.shuffle(shuffled)
    one, other = AdapterMix.from_weights(weights), AdapterMix.from_weights(dict(shuffled))
    assert one.identity == other.identity


def test_base_only():
    mix = AdapterMix.base_only()
    assert (mix.weight(BASE), mix.weight("fog"), mix.identity) == (1.0, 0.0, "base=1")


def test_an_estimate_has_a_distance_for_each_name():
    vector = np.zeros(2, np.float32)
    with pytest.raises(LibraryError, match="expected 2 distances"):
        DomainEstimate(0, vector, vector, ("a", "b"), np.ones(2), np.ones(1))


def colors(count):
    return np.zeros((count, 3), np.uint8)


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ((), 0),
        (("road", " "), 2),
        (("road", ", car"), 2),
        (("road", "Road "), 2),
        (("car, van", "Car, van"), 2),
        (("road", "car"), 1),
        (("road",), 2),
    ],
)
def test_a_vocabulary_is_distinct_names_with_colours(names, count):
    with pytest.raises(VocabularyError, match="expected"):
        Vocabulary(names, colors(count))


@pytest.mark.parametrize(
    ("count", "unlabeled"), [(1, 255), (254, 255), (255, 65535), (300, 65535)]
)
def test_the_unlabeled_id_is_never_a_class(count, unlabeled):
    vocabulary = Vocabulary(tuple(f"class {i}" for i in range(count)), colors(count))
    assert vocabulary.unlabeled_id == unlabeled
    assert vocabulary.unlabeled_id >= count


@pytest.mark.parametrize("names", [("road",) * 3000, ("",) * 3000, ("r" * 3000,) * 2])
def test_a_refused_vocabulary_is_told_in_one_short_line(names):
    with pytest.raises(VocabularyError) as refused:
        Vocabulary(names, colors(len(names)))
    assert len(str(refused.value)) < 160
    assert "\n" not in str(refused.value)


def test_more_classes_than_ids_are_refused():
    with pytest.raises(VocabularyError, match="at most 65534"):
        Vocabulary(tuple(map(str, range(65535))), colors(65535))


@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (2,)])
def test_a_weight_set_has_features_for_every_class(shape):
    vocabulary = Vocabulary(("road", "car"), colors(2))
    with pytest.raises(VocabularyError, match=r"\(2, D\)"):
        WeightSet(AdapterMix.base_only(), UNCHANGED, np.zeros(shape, np.float32), vocabulary)


def test_a_support_level_is_one_of_four():
    with pytest.raises(ConfigError, match="'FINE'"):
        SupportReading(0.1, 0.1, "fog", 3.0, "FINE", 0)


def test_comparing_two_mixes_looks_at_each_member_a_few_times():
    """The frame loop does it at every observation; a mix may hold a thousand adapters."""
    looked = []

    class Name(str):
        __slots__ = ()

        def __hash__(self):
            looked.append(self)
            return super().__hash__()

    count = 300
    one, other = (
        AdapterMix(tuple(Name(start + i) for i in range(count)), (1 / count,) * count)
        for start in (0, count // 2)
    )
    looked.clear()
    assert one.difference(other) == pytest.approx(0.5)
    assert len(looked) <= 20 * count
