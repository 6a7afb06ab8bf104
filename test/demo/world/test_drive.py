"""A drive is a function of the frame number; its weather and its motion have no jumps."""

from __future__ import annotations

import numpy as np
import pytest

from semla_ros.core.errors import ConfigError
from semla_ros.demo.world import DEMO_SEGMENTS, DOMAINS, Drive

SEGMENTS = (("clear-day", 6.0), ("fog-day", 6.0), ("snow-night", 6.0))
SIZE = (96, 160)


def test_random_access_equals_sequential() -> None:
    one, two = (Drive(7, 2.0, SEGMENTS, SIZE) for _ in range(2))
    forward = [one.frame(i) for i in range(len(one))]
    for i in (35, 3, 20, 12, 0):
        again = two.frame(i)
        assert again.image.rgb.tobytes() == forward[i].image.rgb.tobytes()
        assert again.image.labels.tobytes() == forward[i].image.labels.tobytes()
        assert (again.stamp_ns, again.domain) == (forward[i].stamp_ns, forward[i].domain)


def test_length_and_stamps() -> None:
    drive = Drive(1, 10.0, SEGMENTS, SIZE)
    assert len(drive) == 180
    stamps = [drive.frame(i).stamp_ns for i in (0, 1, 2, 100)]
    assert np.diff(stamps).tolist() == [100_000_000, 100_000_000, 9_800_000_000]
    assert stamps[0] > 0


def test_dominant_domain_follows_the_script() -> None:
    drive = Drive(1, 10.0, SEGMENTS, SIZE)
    names = [drive.weather(t)[1] for t in np.arange(0.0, 18.0, 0.1)]
    order = [name for k, name in enumerate(names) if k == 0 or names[k - 1] != name]
    assert order == [domain for domain, _ in SEGMENTS]


def test_transitions_are_smooth() -> None:
    drive = Drive(2, 10.0, SEGMENTS, SIZE)
    times = np.arange(0.0, 18.0, 0.1)
    night = np.array([drive.weather(t)[0].night for t in times])
    fog = np.log([drive.weather(t)[0].fog for t in times])
    assert np.abs(np.diff(night)).max() < 0.06
    assert np.abs(np.diff(fog)).max() < 0.25
    brightness = [drive.frame(i).image.rgb.mean() for i in range(95, 145, 2)]
    assert np.ptp(brightness) > 30
    assert np.abs(np.diff(brightness)).max() < 25


def test_the_camera_moves_and_the_view_changes_a_little() -> None:
    drive = Drive(3, 10.0, SEGMENTS, SIZE)
    first, following, late = (drive.frame(i).image.labels for i in (10, 11, 40))
    assert 0.75 < (first == following).mean() < 1.0
    assert (first == late).mean() < (first == following).mean()


def test_the_demo_script_lasts_two_minutes_and_visits_every_domain() -> None:
    assert sum(seconds for _, seconds in DEMO_SEGMENTS) == 120.0
    assert {domain for domain, _ in DEMO_SEGMENTS} == set(DOMAINS)


@pytest.mark.parametrize("segments", [(), (("clear-day", 0.0),), (("clear-day", 1e9),)])
def test_an_impossible_script_is_refused(segments: tuple[tuple[str, float], ...]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Drive(1, 10.0, segments, SIZE)


@pytest.mark.parametrize("number", [-1, 180])
def test_a_frame_outside_the_drive_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match="frame number"):
        Drive(1, 10.0, SEGMENTS, SIZE).frame(number)
