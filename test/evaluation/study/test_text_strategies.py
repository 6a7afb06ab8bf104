"""Mixes from words alone, on the demo bundle whose eight domains are known."""

from pathlib import Path

import numpy as np
import pytest

from semla_ros.bundle import open_bundle
from semla_ros.core.types import BASE, Frame
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.strategies import check_strategies, strategy_of
from semla_ros.evaluation.study.text_strategies import TEXT_STRATEGIES, shuffled, words_of
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.navigator.distance import CentroidBank

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"
SETTINGS = RetrievalSettings(top_k=3)


@pytest.fixture(scope="module")
def library():
    return AdapterLibrary.of(open_bundle(DEMO, verify=False))


@pytest.fixture(scope="module")
def words(library):
    return words_of(open_bundle(DEMO, verify=False), library)


def seen(domain, excluded=()):
    frame = Frame(0, "camera", np.zeros((2, 2, 3), np.uint8))
    return Observation(frame, domain=domain, excluded=frozenset(excluded))


@pytest.fixture
def choose(library, words):
    bank = CentroidBank(library.names, library.centroids)

    def chosen(strategy, observation, settings=SETTINGS):
        return strategy_of(strategy, library.names, settings, bank, words)(observation)

    return chosen


def test_a_domains_own_words_speak_of_its_own_adapter(choose, library):
    for name in library.names:
        assert choose("text", seen(name)).names[0] == name
        assert choose("text-nearest", seen(name.upper())).names == (name,)


def test_left_out_they_speak_of_a_neighbour(choose, library):
    for name in library.names:
        weather, time = name.split("-")
        mix = choose("text", seen(name, {name}))
        assert name not in mix.names
        assert len(mix.names) == SETTINGS.top_k
        assert mix.names[0].startswith(weather) or mix.names[0].endswith(time)


def test_permuted_descriptions_are_a_control(choose, words, library):
    firsts = [choose("text-shuffled", seen(name)).names[0] for name in library.names]
    assert sorted(firsts) == sorted(library.names)
    assert firsts != list(library.names)
    assert shuffled(words, seed=1) != shuffled(words, seed=2)


@pytest.mark.parametrize("strategy", TEXT_STRATEGIES)
def test_edges(choose, library, strategy):
    assert choose(strategy, seen("a domain without captions")) is None
    assert choose(strategy, seen("fog-day", library.names)).names == (BASE,)
    assert check_strategies([strategy], library.names) == (strategy,)
