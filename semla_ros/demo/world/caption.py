"""English captions of scenes: place, weather, time of day and what can be seen."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.classes import (
    BUILDING,
    CAR,
    CLASSES,
    PERSON,
    POLE,
    ROAD,
    SIDEWALK,
    SIGN,
    SYNONYMS,
    VEGETATION,
)
from semla_ros.demo.world.conditions import Conditions
from semla_ros.demo.world.shapes import pick

COUNTED: Final = (CAR, PERSON, SIGN, POLE, BUILDING)
_PLURALS: Final[dict[str, str]] = {"person": "people"}
_WEATHER: Final[dict[str, tuple[str, ...]]] = {
    "clear": ("clear", "dry", "cloudless"),
    "fog": ("foggy", "misty"),
    "rain": ("rainy", "wet"),
    "snow": ("snowy", "snow-covered"),
}
_WEATHER_NOUN: Final[dict[str, tuple[str, ...]]] = {
    "clear": ("clear weather", "good weather"),
    "fog": ("fog", "dense fog", "mist"),
    "rain": ("rain", "heavy rain"),
    "snow": ("snow", "falling snow"),
}
_SENTENCE: Final[dict[str, tuple[str, ...]]] = {
    "clear": ("the sky is clear", "no clouds"),
    "fog": ("there is fog", "it is foggy"),
    "rain": ("it is raining", "it rains"),
    "snow": ("it is snowing", "it snows"),
}
_OPENINGS: Final = ("a photo of", "a picture of", "a dash cam image of", "a camera view of", "")
_SMALL: Final = 0.0006
_PRESENT: Final = 0.015


def instances(labels: NDArray[np.uint8], class_id: int) -> int:
    """Connected regions of a class that are large enough to be noticed."""
    mask = (labels == class_id).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return int((stats[1:, cv2.CC_STAT_AREA] >= _SMALL * labels.size).sum())


def _noun(class_id: int, count: int, rng: np.random.Generator) -> str:
    """A noun phrase for a number of things of one class."""
    word = pick(SYNONYMS[CLASSES[class_id]], rng)
    if count == 1:
        return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
    plural = _PLURALS.get(word, word + "s")
    number = {2: "two", 3: "three"}.get(count) or pick(("several", "many", "some"), rng)
    return f"{number} {plural}"


def _visible(labels: NDArray[np.uint8], rng: np.random.Generator) -> list[str]:
    """Noun phrases of what can be seen, in random order."""
    phrases: list[str] = []
    share = np.bincount(labels.reshape(-1), minlength=len(CLASSES)) / labels.size
    for class_id in COUNTED:
        count = instances(labels, class_id)
        if class_id == BUILDING:
            count = min(count, 4) if share[BUILDING] > _PRESENT else 0
        if count:
            phrases.append(_noun(class_id, count, rng))
    if share[VEGETATION] > _PRESENT:
        phrases.append(pick(("vegetation", "trees", "a tree"), rng))
    if share[SIDEWALK] > _PRESENT:
        phrases.append("a " + pick(SYNONYMS["sidewalk"], rng))
    rng.shuffle(phrases)
    return phrases


def _listed(phrases: list[str]) -> str:
    """Phrases as an English list."""
    if len(phrases) < 2:
        return "".join(phrases)
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]


def caption(labels: NDArray[np.uint8], conditions: Conditions, rng: np.random.Generator) -> str:
    """A natural caption.

    Args:
        labels: (H, W) uint8 class ids of the image.
        conditions: The conditions of the image.
        rng: Picks words and what is mentioned.

    Returns:
        For example "a photo of a street on a foggy night with two cars and a person".
    """
    weather, time = conditions.weather, "night" if conditions.night >= 0.5 else "day"
    road = bool((labels == ROAD).mean() > _PRESENT)
    place = pick(SYNONYMS["road"], rng) if road else "place outdoors"
    adjective, noun = pick(_WEATHER[weather], rng), pick(_WEATHER_NOUN[weather], rng)
    setting = (
        f"a {place} on a {adjective} {time}",
        f"a {adjective} {place} {'at night' if time == 'night' else 'by day'}",
        f"a {place} in {noun} {'at night' if time == 'night' else 'during the day'}",
    )[int(rng.integers(3))]
    phrases = _visible(labels, rng)
    kept = phrases[: int(rng.integers(min(2, len(phrases)), len(phrases) + 1))]
    sentence = f"{pick(_OPENINGS, rng)} {setting}".strip()
    if not kept:
        return sentence
    link = pick(("with", "showing"), rng)
    return f"{sentence} {link} {_listed(kept)}"


def domain_captions(domain: str) -> tuple[str, ...]:
    """Return what images of `domain` show, in four sentences without what is on the street.

    Args:
        domain: One of the world's, e.g. `fog-night`.
    """
    weather, time = domain.split("-")
    adjectives, nouns = _WEATHER[weather], _WEATHER_NOUN[weather]
    by, while_ = ("at night", "at night") if time == "night" else ("by day", "during the day")
    return (
        f"a photo of a street on a {adjectives[0]} {time}",
        f"a dash cam image of a {adjectives[1]} road {by}",
        f"a picture of a street in {nouns[0]} {while_}",
        f"a camera view of a road in {nouns[1]} {while_}",
    )


def short_captions(domain: str) -> tuple[str, ...]:
    """Return what somebody in a hurry calls `domain`: weather alone, and with the time of day."""
    weather, time = domain.split("-")
    when = ("at night", "after dark") if time == "night" else ("by day", "in the morning")
    alone = (*_WEATHER[weather], *_WEATHER_NOUN[weather], *_SENTENCE[weather])
    return (
        *alone,
        *(f"{noun} ahead" for noun in _WEATHER_NOUN[weather]),
        *(f"{adjective} {time}" for adjective in _WEATHER[weather]),
        *(f"{words} {added}" for words in alone for added in when),
    )
