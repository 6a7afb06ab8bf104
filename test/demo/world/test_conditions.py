"""Domains as numbers."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from semla_ros.core.errors import ConfigError
from semla_ros.demo.world import DOMAINS, blend, conditions_of


@pytest.mark.parametrize("domain", DOMAINS)
def test_sampled_conditions_belong_to_their_domain(domain: str) -> None:
    weather, time = domain.split("-")
    for seed in range(20):
        sampled = conditions_of(domain, np.random.default_rng(seed))
        assert sampled.weather == weather
        assert (sampled.night >= 0.5) == (time == "night")
        assert (sampled.fog > 0.02) == (weather == "fog")
        assert (sampled.rain > 0) == (weather == "rain")
        assert (sampled.snow_cover > 0) == (weather == "snow")


def test_variation_is_seeded() -> None:
    one, two, other = (conditions_of("fog-day", np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == two != other


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ConfigError, match="'hail-day'"):
        conditions_of("hail-day", np.random.default_rng(0))


def test_blend_runs_from_one_end_to_the_other() -> None:
    a = conditions_of("clear-day", np.random.default_rng(0))
    b = conditions_of("fog-night", np.random.default_rng(0))
    assert blend(a, b, 0.0) == a
    assert blend(a, b, 1.0) == b
    assert blend(a, b, -3.0) == a
    steps = [blend(a, b, t) for t in np.linspace(0, 1, 11)]
    assert np.all(np.diff([s.fog for s in steps]) > 0)
    assert np.all(np.diff([s.night for s in steps]) > 0)
    assert blend(a, b, 0.5).fog == pytest.approx(np.sqrt(a.fog * b.fog))
    assert (steps[0].weather, steps[-1].weather) == ("clear", "fog")
    numbers = np.array([astuple(s)[1:] for s in steps], float)
    assert np.isfinite(numbers).all()
