"""Retrieval: laws of the softmax over the nearest, and SemLA's published behaviour."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.config import PARAMETERS, Config
from semla_ros.core.errors import ConfigError, EmptyLibraryError, LibraryError
from semla_ros.core.types import BASE
from semla_ros.library.retrieval import (
    PRESETS,
    SIMILARITIES,
    RetrievalSettings,
    retrieve,
    settings_from,
)

NAMES = ("bdd", "fog", "idd", "night", "rain", "snow")
distance_lists = st.lists(st.floats(0, 1e3), min_size=1, max_size=6)
temperatures = st.floats(1e-4, 1e3)


def mix_of(distances, **settings):
    values = np.asarray(distances, dtype=np.float64)
    return retrieve(NAMES[: len(values)], values, settings=RetrievalSettings(**settings))


@given(
    distances=distance_lists,
    temperature=temperatures,
    top_k=st.integers(1, 8),
    similarity=st.sampled_from(sorted(SIMILARITIES)),
    null=st.sampled_from([-1.0, 0.5, 50.0]),
)
def test_weights_are_a_distribution_over_the_nearest(
    distances, temperature, top_k, similarity, null
):
    mix = mix_of(
        distances, temperature=temperature, top_k=top_k, similarity=similarity, null_distance=null
    )
    assert math.fsum(mix.weights) == pytest.approx(1.0, abs=1e-9)
    assert all(0 < w <= 1 for w in mix.weights)
    assert len(mix.names) <= top_k
    assert list(mix.weights) == sorted(mix.weights, reverse=True)
    known = {**dict(zip(NAMES, distances, strict=False)), BASE: null}
    assert known[mix.names[0]] <= min(d for d in known.values() if d >= 0) + 1e-6


@pytest.mark.parametrize("similarity", sorted(SIMILARITIES))
@given(distances=distance_lists, temperature=temperatures)
def test_nearer_never_weighs_less(similarity, distances, temperature):
    mix = mix_of(distances, temperature=temperature, top_k=6, similarity=similarity)
    weights = [mix.weight(n) for n in NAMES[: len(distances)]]
    order = np.argsort(distances, kind="stable")
    assert np.all(np.diff(np.asarray(weights)[order]) <= 1e-12)


def test_semla_numbers():
    """Source: hand-worked from the published formula, tau .05/K 5 and .01/K 7."""
    names = tuple("abcdefg")
    distances = np.array([7.5, 8.5, 9.5, 10, 10.5, 11, 11.5])
    wide, sharp = (
        retrieve(names, distances, settings=RetrievalSettings(*PRESETS[p]))
        for p in ("semla_k5", "semla_k7")
    )
    np.testing.assert_allclose(wide.weights, [0.305, 0.223, 0.174, 0.156, 0.142], atol=6e-4)
    np.testing.assert_allclose(
        sharp.weights, [0.740, 0.154, 0.045, 0.026, 0.016, 0.011, 0.007], atol=6e-4
    )


def test_top_one_is_the_nearest_alone():
    mix = mix_of([3.0, 1.0, 2.0], top_k=1)
    assert (mix.names, mix.weights) == (("fog",), (1.0,))


@pytest.mark.parametrize("similarity", sorted(SIMILARITIES))
def test_a_distance_of_zero_stays_finite(similarity):
    mix = mix_of([0.0, 1e-9, 5.0], temperature=1e-4, similarity=similarity)
    assert all(math.isfinite(w) for w in mix.weights)
    assert mix.weight("bdd") == pytest.approx(mix.weight("fog"))


def test_ties_go_to_the_earlier_adapter():
    assert mix_of([2.0] * 6, top_k=3).names == ("bdd", "fog", "idd")


def test_excluded_adapters_take_no_part():
    mix = mix_of([1.0, 2.0, 3.0], exclude=frozenset({"bdd", "unheard-of"}))
    assert set(mix.names) == {"fog", "idd"}


def test_the_null_adapter_competes_for_a_place():
    near = mix_of([1.0, 2.0, 3.0], top_k=2, null_distance=1.5)
    assert near.names == ("bdd", BASE)
    far = mix_of([1.0, 2.0, 3.0], top_k=2, null_distance=9.0)
    assert BASE not in far.names


@pytest.mark.parametrize("null", [0.0, -1.0])
def test_the_base_competes_only_at_a_distance_above_zero(null):
    """At a distance of 0 it would be nearer than every adapter, always."""
    assert mix_of([1.0, 2.0], null_distance=null).weight(BASE) == 0
    with pytest.raises(EmptyLibraryError):
        mix_of([], null_distance=null)


def test_an_empty_library_is_refused_unless_the_base_competes():
    with pytest.raises(EmptyLibraryError, match="add adapters"):
        mix_of([])
    with pytest.raises(EmptyLibraryError, match=r"\['bdd'\] excluded"):
        mix_of([1.0], exclude=frozenset({"bdd"}))
    assert mix_of([], null_distance=3.0).names == (BASE,)


@pytest.mark.parametrize("bad", [[1.0, math.nan], [1.0, math.inf], [-1.0, 1.0]])
def test_impossible_distances_are_refused(bad):
    with pytest.raises(LibraryError, match="2 finite distances"):
        mix_of(bad)


def test_another_number_of_distances_is_refused():
    with pytest.raises(LibraryError, match="expected 1 finite"):
        retrieve(("a",), np.ones(2), settings=RetrievalSettings())


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": 0.0},
        {"temperature": math.nan},
        {"top_k": 0},
        {"similarity": "cosine"},
        {"null_distance": math.nan},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match="expected"):
        RetrievalSettings(**bad)


DEFAULTS = AdaptationDefaults(0.3, 4, "euclidean", "neg_distance", 7.5, 0.1, 9.0)


def test_the_bundle_fills_what_the_configuration_leaves_open():
    assert settings_from(Config(), DEFAULTS) == RetrievalSettings(0.3, 4, "neg_distance", 7.5)


def test_a_preset_replaces_temperature_and_top_k_only():
    settings = settings_from(Config(retrieval_preset="semla_k7"), DEFAULTS)
    assert settings == RetrievalSettings(0.01, 7, "neg_distance", 7.5)


def test_explicit_values_win():
    config = Config(
        retrieval_preset="semla_k7",
        temperature=2.0,
        top_k=3,
        similarity="inverse",
        null_distance=-1.0,
        exclude="idd, bdd",
    )
    expected = RetrievalSettings(2.0, 3, "inverse", -1.0, frozenset({"idd", "bdd"}))
    assert settings_from(config, DEFAULTS) == expected


def test_the_configuration_offers_what_exists():
    assert set(PARAMETERS["similarity"].choices) == {"bundle", *SIMILARITIES}
    assert set(PARAMETERS["retrieval_preset"].choices) == {"bundle", *PRESETS}


@given(
    distances=st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0, 4.0]), min_size=1, max_size=40),
    top_k=st.integers(1, 50),
)
def test_ties_go_to_the_earlier_adapter_however_many_there_are(distances, top_k):
    names = [f"d{i:02d}" for i in range(len(distances))]
    settings = RetrievalSettings(temperature=1.0, top_k=top_k)
    got = retrieve(names, np.asarray(distances), settings=settings)
    expected = sorted(range(len(names)), key=lambda i: (distances[i], i))[:top_k]
    assert set(got.names) == {names[i] for i in expected}
