"""The status picture: one size, the level's colour, bars as long as their weights."""

import math

import numpy as np
import pytest

from semla_ros.answers import SUPPORT_LEVELS, SupportReading
from semla_ros.types import AdapterMix
from semla_ros.viz.status import SIZE, status

MIX = AdapterMix(("fog", "base"), (0.75, 0.25))


def reading(level="OK", lower=math.nan):
    return SupportReading(0.4, 0.4, "fog", 2.0, level, 1, miou_lower=lower)


def bar_lengths(image):
    """Filled pixels of each bar, by the bar's own colour."""
    filled = (image == (86, 180, 233)).all(axis=2).sum(axis=1)
    return [int(n) for n in np.unique(filled[filled > 0])]


@pytest.mark.parametrize("level", SUPPORT_LEVELS)
def test_every_level_has_a_stripe_of_its_own_colour(level):
    pictures = {each: status(MIX, reading(each)) for each in SUPPORT_LEVELS}
    assert pictures[level].shape == (SIZE[1], SIZE[0], 3)
    others = {tuple(p[80, 4]) for each, p in pictures.items() if each != level}
    assert tuple(pictures[level][80, 4]) not in others


def test_bars_are_as_long_as_the_weights():
    assert bar_lengths(status(MIX, reading())) == pytest.approx([61, 181], abs=1)


def test_it_needs_no_reading_and_bounds_what_it_shows():
    many = AdapterMix(tuple(f"adapter number {i} é" for i in range(20)), (0.05,) * 20)
    image = status(many, None)
    assert image.shape == (SIZE[1], SIZE[0], 3)
    assert len(bar_lengths(image)) == 1


def test_the_bound_is_shown_where_it_is_known():
    assert (status(MIX, reading(lower=0.3)) != status(MIX, reading())).any()
