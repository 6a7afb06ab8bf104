"""The stage that calibrates the demo model: drives become studies, the card keeps one section."""

import math
from pathlib import Path

import numpy as np
import pytest

from semla_ros.bundle import open_bundle
from semla_ros.core.mask_signals import SIGNALS, mask_signals
from semla_ros.demo.model.contest import CHOICES, contest, contest_table
from semla_ros.demo.model.drives import (
    Route,
    drive_study,
    tours,
    unknown_families,
    unknown_weather,
)
from semla_ros.demo.model.promise import PromiseRecipe
from semla_ros.demo.model.promise_card import BEGIN, END, with_section
from semla_ros.demo.world import DOMAINS
from semla_ros.evaluation.analysis.frames import FrameTable, frame_table

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"


def test_the_section_is_replaced_not_repeated():
    once = with_section("# Card\n\ntext\n", "old")
    twice = with_section(once, "new")
    assert twice.count(BEGIN) == twice.count(END) == 1
    assert "old" not in twice
    assert twice.startswith("# Card\n\ntext\n")
    assert with_section(twice, "new") == twice


def test_routes_visit_every_domain_and_leave_out_their_own():
    (tour,) = tours(5, count=1, seconds=2.0)
    assert sorted(tour.domains) == sorted(DOMAINS)
    routes = unknown_weather(7, count=2, seconds=2.0)
    assert len(routes) == 2 * len(DOMAINS)
    assert all(r.exclude == r.domains for r in routes)
    assert len({r.seed for r in routes}) == len(routes)
    assert len({r.name for r in routes}) == len(routes)


def test_families_leave_as_a_whole():
    routes = unknown_families(7, seconds=2.0)
    assert {r.exclude for r in routes if r.domains == ("fog-night",)} == {
        ("fog-day", "fog-night"),
        tuple(d for d in DOMAINS if d.endswith("night")),
    }
    assert all(r.domains[0] in r.exclude for r in routes)
    assert len({r.seed for r in routes}) == len(routes)


def test_no_street_appears_in_two_sets():
    recipe = PromiseRecipe()
    seeds = [
        {route.seed for routes in recipe.routes(first).values() for route in routes}
        for first in (*recipe.seeds, recipe.fresh_seed)
    ]
    for i, one in enumerate(seeds):
        assert all(not one & other for other in seeds[i + 1 :])
        assert len(one) == sum(map(len, recipe.routes(0).values())), "nor twice in one"


def test_the_contest_finds_the_signal_that_tells():
    rng = np.random.default_rng(4)
    frames = 400
    mask = rng.uniform(0, 1, (frames, len(SIGNALS)))
    noise = {n: rng.uniform(0, 1, frames) for n in ("support", "novelty", "nearest_distance")}
    domain = np.array(["a", "b", "c", "d"])[np.arange(frames) % 4]
    table = FrameTable(
        **noise,
        mask=mask,
        mix_entropy=rng.uniform(0, 1, frames),
        miou=0.2 + 0.4 * mask[:, 0] + rng.normal(0, 0.01, frames),
        domain=domain,
        block=domain,
        level=np.full(frames, "OK"),
        expected=np.full(frames, np.nan),
    )
    found = contest(table, np.array(["0", "1"])[np.arange(frames) // 200], (0.3,))
    assert [c.name for c in found] == list(CHOICES)
    by_name = {c.name: c for c in found}
    assert by_name["mean confidence"].error[0] < 0.02
    assert by_name["mean confidence"].auroc[0.3][0] > 0.97
    assert by_name["support (Eq. 15)"].error[0] > 0.08
    lines = contest_table(found).splitlines()
    assert len(lines) == len(CHOICES) + 2
    assert len({line.count("|") for line in lines}) == 1


def test_a_drive_becomes_a_study_with_truth_and_promise():
    if not (DEMO / "bundle.yaml").is_file():
        pytest.skip(f"needs the demo bundle, missing: {DEMO / 'bundle.yaml'}")
    bundle = open_bundle(DEMO, verify=False)
    route = Route(9, ("fog-day",), 1.2, ("fog-day",))
    study = drive_study(bundle, [route], threads=1)
    (recording,) = study.recordings
    column = study.info.adapters.index("fog-day")
    track = recording.results["semla-gated"]
    assert recording.frames == 6
    assert track.counts.sum() > 0
    assert not track.weights[:, column].any(), "its own adapter was left out"
    np.testing.assert_allclose(track.weights.sum(axis=1), 1, atol=1e-5)
    assert np.isfinite(frame_table([study]).miou).all()


def test_the_demo_bundle_is_calibrated_for_its_own_retrieval():
    if not (DEMO / "bundle.yaml").is_file():
        pytest.skip(f"needs the demo bundle, missing: {DEMO / 'bundle.yaml'}")
    defaults = open_bundle(DEMO, verify=False).manifest.defaults
    calibration = defaults.calibration
    assert calibration is not None
    assert calibration.settings.temperature == defaults.temperature
    assert calibration.settings.top_k == defaults.top_k
    assert set(calibration.domains) == set(DOMAINS)
    assert calibration.coverage >= calibration.target
    assert all(calibration.error < error for error in calibration.errors.values())
    expected, lower = calibration.promise([term.mean for term in calibration.terms])
    assert 0 < lower < expected < 1


def test_a_mask_that_collapsed_to_one_class_is_promised_nothing():
    if not (DEMO / "bundle.yaml").is_file():
        pytest.skip(f"needs the demo bundle, missing: {DEMO / 'bundle.yaml'}")
    calibration = open_bundle(DEMO, verify=False).manifest.defaults.calibration
    labels = np.zeros((128, 128), np.uint8)
    for sure in (0, 128, 255):
        signals = mask_signals(labels, np.full(labels.shape, sure, np.uint8))
        expected, lower = calibration.promise(signals)
        assert math.isnan(expected)
        assert lower == 0.0
