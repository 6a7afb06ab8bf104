"""The status picture: one size, the level's colour, bars as long as their weights."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from semla_ros.core.answers import SUPPORT_LEVELS, SupportReading
from semla_ros.core.types import AdapterMix
from semla_ros.core.viz.status import SIZE, status

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
    assert bar_lengths(status(MIX, reading())) == pytest.approx([56, 166], abs=1)


def test_it_needs_no_reading_and_bounds_what_it_shows():
    many = AdapterMix(tuple(f"adapter number {i} é" for i in range(20)), (0.05,) * 20)
    image = status(many, None)
    assert image.shape == (SIZE[1], SIZE[0], 3)
    assert len(bar_lengths(image)) == 1


def texts(monkeypatch, support):
    """What the picture says, line by line."""
    said = []
    monkeypatch.setattr(cv2, "putText", lambda image, text, *rest: said.append(text))
    status(MIX, support)
    return said


def test_stale_names_no_adapter_and_says_why(monkeypatch):
    said = texts(monkeypatch, SupportReading.stale())
    assert said[0] == "STALE"
    assert not any("nearest" in line or "support" in line for line in said)
    assert "no usable image: nothing is known" in said


def test_what_is_said_fits_the_picture(monkeypatch):
    longest = replace(reading("OUT_OF_LIBRARY", lower=0.25), nearest="heavy-snow-at-dawn")
    for index, line in enumerate(texts(monkeypatch, longest)):
        scale, thickness = (0.95, 2) if index == 0 else (0.55, 1)
        (width, _), _ = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        assert 20 + width < SIZE[0], line


def test_the_bound_is_shown_where_it_is_known():
    assert (status(MIX, reading(lower=0.3)) != status(MIX, reading())).any()
