"""Words choose adapters by what these are described by, and are refused where they do not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.errors import LibraryError
from semla_ros.core.types import BASE
from semla_ros.library.retrieval import RetrievalSettings, agreement, retrieve
from semla_ros.library.text_prior import Descriptions, TextPrior

NAMES = ("clear", "fog", "night")


def unit(*angles: float) -> np.ndarray:
    """Unit vectors in a plane, degrees."""
    turned = np.deg2rad(angles)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


CAPTIONS = {"clear": unit(0, 10), "fog": unit(40, 50), "night": unit(90)}
NEUTRAL = unit(190, 200, 210)
DESCRIBED = Descriptions.of(CAPTIONS, NEUTRAL)
PRIOR = TextPrior("words", {"clear": 0.9, "fog": 0.6, "night": 0.1}, 0.5, 0.1)


def test_a_description_is_the_mean_of_its_captions():
    assert DESCRIBED.names == NAMES
    np.testing.assert_allclose(DESCRIBED.vectors[1], unit(40, 50).mean(axis=0), rtol=1e-6)
    prior = DESCRIBED.likeness("fog", unit(45)[0], temperature=0.1)
    assert prior.cosines["fog"] == pytest.approx(1.0)
    assert prior.cosines["clear"] == pytest.approx(np.cos(np.deg2rad(40)))


def test_the_floor_is_the_loneliest_captions_nearest_foreign_description():
    # of clear: 0 is 45 from fog; of fog: 40 is 35 from clear; night is 45 from fog
    assert DESCRIBED.floor == pytest.approx(np.cos(np.deg2rad(45)))


def test_words_speak_of_a_domain_that_is_nearer_than_halfway_to_neutral_texts():
    # 190 lies 100 from night, the loneliest caption 45 from a foreign description
    assert DESCRIBED.least == pytest.approx(np.cos(np.deg2rad([45, 100])).mean())


def test_neutral_texts_as_near_as_other_domains_change_nothing():
    close = Descriptions.of(CAPTIONS, unit(5))
    assert close.least == close.floor == DESCRIBED.floor


def test_one_stray_neutral_text_does_not_count():
    stray = Descriptions.of(CAPTIONS, np.concatenate([unit(*([190] * 30)), unit(5)]))
    assert stray.least == pytest.approx(DESCRIBED.least)


def test_words_further_away_than_that_are_refused():
    assert DESCRIBED.prior("dusk", unit(150)[0], temperature=0.1).cosines["night"] > 0
    with pytest.raises(
        LibraryError, match=r"'car, road' speaks of no domain.*'night' with"
    ) as got:
        DESCRIBED.prior("car, road", unit(170)[0], temperature=0.1)
    assert "\n" not in str(got.value)
    assert DESCRIBED.likeness("car, road", unit(180)[0], temperature=0.1).cosines["night"] < 0.1


@given(
    distances=st.lists(st.floats(0.5, 20), min_size=3, max_size=3),
    null=st.sampled_from([-1.0, 4.0]),
)
def test_an_image_bears_words_out_as_far_as_it_is_near_what_they_name(distances, null):
    settings = RetrievalSettings(temperature=0.5, null_distance=null)
    away = np.array(distances)
    borne = agreement(NAMES, away, settings=settings, prior=PRIOR)
    image = retrieve(NAMES, away, settings=replace(settings, null_distance=-1.0))
    words = retrieve(NAMES, away, settings=settings, prior=PRIOR, share=1.0)
    expected = 3 * sum(image.weight(n) * words.weight(n) for n in NAMES)
    assert borne == pytest.approx(min(1.0, expected), rel=1e-6)


def test_an_image_of_nothing_known_contradicts_no_words():
    settings = RetrievalSettings(temperature=0.02)
    far, clear, night = np.full(3, 1e6), np.array([1.0, 9, 9]), np.array([9, 9, 1.0])
    borne = [agreement(NAMES, d, settings=settings, prior=PRIOR) for d in (far, clear, night)]
    assert borne[:2] == pytest.approx([1.0, 1.0])
    assert borne[2] < 0.02
    nothing = replace(settings, exclude=frozenset(NAMES))
    assert agreement(NAMES, clear, settings=nothing, prior=PRIOR) == 1.0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_described_domains_do_not_say_how_far_is_far(count):
    few = {name: CAPTIONS[name] for name in NAMES[:count]}
    with pytest.raises(LibraryError, match=f"at least 3 adapters, got {count}"):
        Descriptions.of(few, NEUTRAL)


def test_words_alone_ignore_distances():
    settings = RetrievalSettings(top_k=3)
    near, far = np.array([1.0, 5.0, 9.0]), np.array([9.0, 1.0, 5.0])
    mixes = [retrieve(NAMES, d, settings=settings, prior=PRIOR, share=1.0) for d in (near, far)]
    assert mixes[0] == mixes[1]
    expected = np.exp(np.array([9.0, 6.0, 1.0]) - 9.0)
    found = [mixes[0].weight(name) for name in NAMES]
    assert found == pytest.approx(expected / expected.sum())


@given(
    distances=st.lists(st.floats(0.5, 20), min_size=3, max_size=3),
    share=st.floats(0.01, 1),
    null=st.sampled_from([-1.0, 4.0]),
)
def test_weights_are_the_product_of_what_images_and_words_say(distances, share, null):
    settings = RetrievalSettings(temperature=0.5, top_k=4, null_distance=null)
    away = np.array(distances)
    mix = retrieve(NAMES, away, settings=settings, prior=PRIOR, share=share)
    image, words = (
        retrieve(NAMES, away, settings=settings, prior=PRIOR, share=s) for s in (0.0, 1.0)
    )
    assert image == retrieve(NAMES, away, settings=settings)
    product = [image.weight(n) ** (1 - share) * words.weight(n) ** share for n in NAMES]
    expected = (1 - mix.weight(BASE)) * np.array(product) / sum(product)
    assert [mix.weight(n) for n in NAMES] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert (mix.weight(BASE) > 0) == (null > 0 and share < 1)


def test_what_has_no_description_competes_at_the_floor():
    settings = RetrievalSettings(top_k=9, null_distance=3.0)
    names = (*NAMES, "new")
    mix = retrieve(names, np.full(4, 3.0), settings=settings, prior=PRIOR, share=0.99)
    assert mix.weight("new") == pytest.approx(mix.weight(BASE))
    assert mix.weight("fog") > mix.weight("new") > mix.weight("night")


def test_words_alone_leave_the_base_out():
    settings = RetrievalSettings(top_k=9, null_distance=3.0)
    mix = retrieve(NAMES, np.ones(3), settings=settings, prior=PRIOR, share=1.0)
    assert set(mix.names) == set(NAMES)
    nobody = replace(settings, exclude=frozenset(NAMES))
    assert retrieve(NAMES, np.ones(3), settings=nobody, prior=PRIOR, share=1.0).names == (BASE,)
