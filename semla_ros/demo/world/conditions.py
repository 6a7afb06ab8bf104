"""Weather and time of day as continuous numbers, so that a drive can blend between domains."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from semla_ros.core.errors import ConfigError
from semla_ros.demo.world.classes import DOMAINS


@dataclass(frozen=True)
class Conditions:
    """What the weather and the light do to an image; the geometry is the scene's.

    Attributes:
        weather: "clear", "fog", "rain" or "snow": the dominant one.
        night: 0 (noon) to 1 (dark).
        fog: Extinction of the air in 1/m (Koschmieder's beta).
        rain: Falling rain, 0 to 1.
        wet: Water on the ground, 0 to 1.
        snow_fall: Falling snow, 0 to 1.
        snow_cover: Lying snow, 0 to 1.
        cloud: Cloud cover, 0 to 1; takes the direct sun away.
        warmth: Colour of the light, -1 (cold) to 1 (warm).
        exposure: Camera gain, 1 is neutral.
        noise: Standard deviation of the sensor noise in display units (0 to 1) at mid grey.
    """

    weather: str
    night: float
    fog: float
    rain: float
    wet: float
    snow_fall: float
    snow_cover: float
    cloud: float
    warmth: float
    exposure: float
    noise: float


def _clear(weather: str, rng: np.random.Generator, *, at_night: bool) -> Conditions:
    """Clear conditions by day or night, under the given weather name."""
    return Conditions(
        weather=weather,
        night=float(rng.uniform(0.85, 1.0) if at_night else rng.uniform(0.0, 0.12)),
        fog=float(rng.uniform(0.0005, 0.002)),
        rain=0.0,
        wet=0.0,
        snow_fall=0.0,
        snow_cover=0.0,
        cloud=float(rng.uniform(0.0, 0.6)),
        warmth=float(rng.uniform(-0.3, 0.8)),
        exposure=float(rng.uniform(0.9, 1.12)),
        noise=float(rng.uniform(0.026, 0.046) if at_night else rng.uniform(0.008, 0.016)),
    )


def conditions_of(domain: str, rng: np.random.Generator) -> Conditions:
    """Samples the natural variation inside one domain.

    Args:
        domain: One of DOMAINS.
        rng: Source of the variation.

    Returns:
        The sampled conditions.

    Raises:
        ConfigError: The name is not one of DOMAINS.
    """
    if domain not in DOMAINS:
        raise ConfigError(
            f"expected one of the domains {DOMAINS!r}, got {domain!r}; pick one of them"
        )
    weather, time = domain.split("-")
    base = _clear(weather, rng, at_night=time == "night")
    if weather == "fog":
        fog = float(np.exp(rng.uniform(np.log(0.022), np.log(0.055))))
        wet, warmth = float(rng.uniform(0.0, 0.15)), float(rng.uniform(-0.4, 0.2))
        return replace(base, fog=fog, cloud=1.0, wet=wet, warmth=warmth)
    if weather == "rain":
        fog, rain = float(rng.uniform(0.005, 0.012)), float(rng.uniform(0.5, 1.0))
        wet, warmth = float(rng.uniform(0.7, 1.0)), float(rng.uniform(-0.7, -0.2))
        return replace(base, fog=fog, rain=rain, wet=wet, cloud=1.0, warmth=warmth)
    if weather == "snow":
        fog, fall = float(rng.uniform(0.006, 0.014)), float(rng.uniform(0.4, 1.0))
        cover, cloud = float(rng.uniform(0.75, 1.0)), float(rng.uniform(0.85, 1.0))
        base = replace(base, snow_fall=fall, snow_cover=cover)
        return replace(base, fog=fog, cloud=cloud, warmth=float(rng.uniform(-0.8, -0.2)))
    return base


def blend(a: Conditions, b: Conditions, t: float) -> Conditions:
    """Mixes two conditions; the fog density is mixed geometrically, the rest linearly.

    Args:
        a: The conditions at t = 0.
        b: The conditions at t = 1.
        t: Position between them; clipped to 0..1.

    Returns:
        The mixture, with the weather name of the nearer end.
    """
    t = min(max(t, 0.0), 1.0)
    if t in (0.0, 1.0):
        return a if t == 0.0 else b
    mixed: dict[str, float] = {}
    for field in fields(Conditions):
        if field.name == "weather":
            continue
        low, high = float(getattr(a, field.name)), float(getattr(b, field.name))
        mixed[field.name] = low + (high - low) * t
    mixed["fog"] = float(np.exp(np.log(a.fog) * (1.0 - t) + np.log(b.fog) * t))
    return replace(a, weather=a.weather if t < 0.5 else b.weather, **mixed)
