"""Captions name what is there."""

from __future__ import annotations

import numpy as np
import pytest

from semla_ros.demo.world import CLASSES, DOMAINS, SYNONYMS, caption, conditions_of, render
from semla_ros.demo.world.caption import instances
from semla_ros.demo.world.classes import CAR, PERSON, ROAD, SKY
from semla_ros.demo.world.scene import sample_scene

WORDS = {
    "clear": ("clear", "dry", "cloudless", "good weather"),
    "fog": ("fog", "mist"),
    "rain": ("rain", "wet"),
    "snow": ("snow",),
}


def said(labels: np.ndarray, domain: str, seed: int) -> str:
    rng = np.random.default_rng(seed)
    return caption(labels, conditions_of(domain, rng), rng)


def labels_with(cars: int, persons: int) -> np.ndarray:
    labels = np.full((100, 200), SKY, np.uint8)
    labels[50:] = ROAD
    for k in range(cars):
        labels[60:70, 10 + 30 * k : 30 + 30 * k] = CAR
    for k in range(persons):
        labels[80:95, 10 + 20 * k : 16 + 20 * k] = PERSON
    return labels


@pytest.mark.parametrize("domain", DOMAINS)
def test_caption_names_weather_and_time(domain: str) -> None:
    weather, time = domain.split("-")
    for seed in range(30):
        text = said(labels_with(2, 1), domain, seed)
        assert any(word in text for word in WORDS[weather]), text
        assert time in text, text
        assert "road" in text or "street" in text


def test_caption_counts_and_only_names_what_is_visible() -> None:
    texts = [said(labels_with(2, 1), "fog-night", s) for s in range(60)]
    joined = " ".join(texts)
    for words in ("two cars", "two vehicles", "two automobiles", "a person", "a pedestrian"):
        assert words in joined
    words_used = set(joined.replace(",", "").split())
    for absent in ("tree", "trees", "sign", "pole", "building", "house", "sidewalk"):
        assert absent not in words_used
    assert len(set(texts)) > 30


def test_plural_of_person() -> None:
    texts = [said(labels_with(0, 3), "rain-day", s) for s in range(40)]
    assert any("three people" in t for t in texts)
    assert not any("persons" in t for t in texts)


def test_caption_of_a_rendered_scene() -> None:
    conditions = conditions_of("snow-night", np.random.default_rng(1))
    image = render(sample_scene(1), conditions, noise_seed=1)
    text = caption(image.labels, conditions, np.random.default_rng(3))
    assert "snow" in text
    assert "night" in text
    assert text == caption(image.labels, conditions, np.random.default_rng(3))


def test_instances_ignore_specks() -> None:
    labels = labels_with(3, 0)
    labels[0, 0] = CAR
    assert instances(labels, CAR) == 3
    assert instances(labels, PERSON) == 0


def test_synonyms_cover_every_class_and_start_with_its_name() -> None:
    assert tuple(SYNONYMS) == CLASSES
    assert all(words[0] == name for name, words in SYNONYMS.items())
