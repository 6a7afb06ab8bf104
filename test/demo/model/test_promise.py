"""The stage that calibrates the demo model: drives become studies, the card keeps one section."""

from pathlib import Path

import numpy as np
import pytest

from semla_ros.bundle import open_bundle
from semla_ros.demo.model.drives import Route, drive_study, tours, unknown_weather
from semla_ros.demo.model.promise import BEGIN, END, with_section
from semla_ros.demo.world import DOMAINS
from semla_ros.evaluation.analysis.frames import frame_table

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


def test_a_drive_becomes_a_study_with_truth_and_promise():
    if not (DEMO / "bundle.yaml").is_file():
        pytest.skip(f"needs the demo bundle, missing: {DEMO / 'bundle.yaml'}")
    bundle = open_bundle(DEMO, verify=False)
    route = Route(9, ("fog-day",), 1.2, ("fog-day",))
    study = drive_study(bundle, [route], threads=1)
    (recording,) = study.recordings
    column = study.info.adapters.index("fog-day")
    track = recording.tracks["semla-gated"]
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
    assert 0 < calibration.miou_lower(0.5) < calibration.expected_miou(0.5) < 1
