"""Laws of the rendered world: determinism, exact labels, depth, and what weather does to light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import ConfigError
from semla_ros.demo.world import (
    CLASSES,
    DOMAINS,
    SceneImage,
    conditions_of,
    render,
    sample_scene,
)
from semla_ros.demo.world.classes import ROAD, SKY, VEGETATION
from semla_ros.demo.world.surface import SKY_DEPTH

SEEDS = range(6)


def picture(seed: int, domain: str, **changes: float) -> SceneImage:
    conditions = conditions_of(domain, np.random.default_rng([seed, 5]))
    return render(sample_scene(seed), replace(conditions, **changes), noise_seed=seed)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_same_seed_gives_the_same_bytes(domain: str) -> None:
    one, two = picture(3, domain), picture(3, domain)
    assert one.rgb.tobytes() == two.rgb.tobytes()
    assert one.labels.tobytes() == two.labels.tobytes()
    assert one.depth.tobytes() == two.depth.tobytes()
    assert picture(4, domain).rgb.tobytes() != one.rgb.tobytes()


def test_another_noise_seed_changes_the_image_only() -> None:
    scene = sample_scene(1)
    conditions = conditions_of("snow-night", np.random.default_rng(0))
    one, two = (render(scene, conditions, noise_seed=n) for n in (1, 2))
    assert (one.rgb != two.rgb).any()
    assert np.array_equal(one.labels, two.labels)
    assert np.array_equal(one.depth, two.depth)


def test_shapes_types_and_ranges() -> None:
    image = render(
        sample_scene(2),
        conditions_of("rain-day", np.random.default_rng(1)),
        size=(96, 160),
        noise_seed=0,
    )
    assert (image.rgb.shape, image.rgb.dtype) == ((96, 160, 3), np.uint8)
    assert (image.labels.shape, image.labels.dtype) == ((96, 160), np.uint8)
    assert (image.depth.shape, image.depth.dtype) == ((96, 160), np.float32)
    assert int(image.labels.max()) < len(CLASSES)
    assert np.isfinite(image.depth).all()
    assert float(image.depth.min()) > 0.0


@pytest.mark.parametrize("size", [(8, 320), (192, 5000)])
def test_an_impossible_size_is_refused(size: tuple[int, int]) -> None:
    conditions = conditions_of("clear-day", np.random.default_rng(1))
    with pytest.raises(ConfigError, match="expected a size"):
        render(sample_scene(2), conditions, size=size, noise_seed=0)


def test_weather_never_touches_labels_or_depth() -> None:
    reference = picture(0, DOMAINS[0])
    for domain in DOMAINS[1:]:
        image = picture(0, domain)
        assert np.array_equal(image.labels, reference.labels)
        assert np.array_equal(image.depth, reference.depth)


def test_every_class_occurs_often_and_layouts_differ() -> None:
    labels = np.stack([picture(seed, "clear-day").labels for seed in range(24)])
    presence = [(labels == k).any(axis=(1, 2)).mean() for k in range(len(CLASSES))]
    assert min(presence) > 0.5, dict(zip(CLASSES, presence, strict=True))
    votes = np.stack([(labels == k).mean(0) for k in range(len(CLASSES))])
    prior = votes.argmax(0)
    recalls = [(prior[None] == labels)[labels == k].mean() for k in range(len(CLASSES))]
    assert np.mean(recalls) < 0.6, "the position alone must not give the class away"


def test_sky_is_far_and_nothing_else_is() -> None:
    for seed in SEEDS:
        image = picture(seed, "clear-day")
        assert (image.depth[image.labels == SKY] == SKY_DEPTH).all()
        assert float(image.depth[image.labels != SKY].max()) < SKY_DEPTH


def test_road_depth_follows_the_ground_plane() -> None:
    scene = sample_scene(2)
    scene = replace(scene, camera=replace(scene.camera, roll=0.0), movers=())
    conditions = conditions_of("clear-day", np.random.default_rng(1))
    image = render(scene, conditions, noise_seed=0)
    height, width = image.labels.shape
    camera = scene.camera
    rows = np.arange(height) - camera.horizon * height
    rows[rows <= 0] = np.nan
    plane = camera.height * camera.focal * width / rows
    on_road = image.labels == ROAD
    assert on_road.any()
    expected = np.broadcast_to(plane[:, None], image.depth.shape)[on_road]
    assert np.allclose(image.depth[on_road], expected, rtol=1e-3)


def test_things_in_front_hide_things_behind() -> None:
    """Where a car covers the empty street, the car is nearer than what it covers."""
    for seed in SEEDS:
        scene = sample_scene(seed)
        conditions = conditions_of("clear-day", np.random.default_rng(1))
        full = render(scene, conditions, noise_seed=0)
        empty = render(replace(scene, movers=()), conditions, noise_seed=0)
        changed = full.labels != empty.labels
        if changed.sum() > 50:
            nearer = full.depth[changed] <= empty.depth[changed] + 0.5
            assert nearer.mean() > 0.9


def test_fog_takes_contrast_away_with_depth() -> None:
    near_kept, far_kept = [], []
    for seed in SEEDS:
        clear = picture(seed, "fog-day", fog=1e-6, noise=0.0)
        foggy = picture(seed, "fog-day", fog=0.05, noise=0.0)
        for low, high, kept in ((3.0, 9.0, near_kept), (45.0, 100.0, far_kept)):
            zone = (clear.depth > low) & (clear.depth < high)
            if zone.sum() > 200:
                kept.append(foggy.rgb[zone].std() / clear.rgb[zone].std())
    assert np.mean(far_kept) < 0.35
    assert np.mean(near_kept) > 2 * np.mean(far_kept)


def test_night_is_darker_in_every_weather() -> None:
    for weather in ("clear", "fog", "rain", "snow"):
        day = [picture(seed, f"{weather}-day").rgb.mean() for seed in SEEDS]
        night = [picture(seed, f"{weather}-night").rgb.mean() for seed in SEEDS]
        assert all(n < d for n, d in zip(night, day, strict=True))
        assert np.mean(night) < 0.65 * np.mean(day)


def test_headlights_light_the_near_road_most() -> None:
    ratios = []
    for seed in SEEDS:
        scene = sample_scene(seed)
        scene = replace(scene, street=replace(scene.street, lamps=np.zeros((0, 3), np.float32)))
        conditions = replace(
            conditions_of("clear-night", np.random.default_rng(1)), noise=0.0, night=1.0
        )
        image = render(scene, conditions, noise_seed=0)
        road = image.labels == ROAD
        near, far = road & (image.depth < 12), road & (image.depth > 30)
        if near.sum() > 100 and far.sum() > 30:
            ratios.append(image.rgb[near].mean() / image.rgb[far].mean())
    assert len(ratios) >= 3
    assert np.mean(ratios) > 1.3


def test_snow_whitens_the_ground_and_the_plants() -> None:
    for class_id in (ROAD, VEGETATION):
        for seed in SEEDS:
            clear = picture(seed, "clear-day", cloud=1.0)
            snow = picture(seed, "snow-day", fog=1e-4, snow_fall=0.0)
            zone = (clear.labels == class_id) & (clear.depth < 40)
            if zone.sum() > 300:
                assert snow.rgb[zone].mean() > 1.15 * clear.rgb[zone].mean()


def test_wet_road_mirrors_what_stands_above_the_horizon() -> None:
    agreement = []
    for seed in SEEDS:
        scene = sample_scene(seed)
        scene = replace(scene, camera=replace(scene.camera, roll=0.0, horizon=0.5))
        rainy = conditions_of("rain-day", np.random.default_rng(1))
        rainy = replace(rainy, rain=0.0, noise=0.0, fog=1e-5)
        dry, wet = (
            render(scene, replace(rainy, wet=amount), noise_seed=0) for amount in (0.0, 1.0)
        )
        mirror = dry.rgb[::-1].astype(float).mean(2)
        change = wet.rgb.astype(float).mean(2) - 0.74 * dry.rgb.astype(float).mean(2)
        zone = (dry.labels == ROAD) & (dry.depth > 6)
        if zone.sum() > 1000 and mirror[zone].std() > 20:
            agreement.append(np.corrcoef(mirror[zone], change[zone])[0, 1])
    assert len(agreement) >= 3
    assert np.mean(agreement) > 0.4
