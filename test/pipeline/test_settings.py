"""A calibration is used under the retrieval it was made with, and left aside under another."""

import logging
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.bundle import AdaptationDefaults, open_bundle, reseal
from semla_ros.core.config import Config, updated
from semla_ros.core.errors import BundleError
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.support_calibration import SignalTerm, SupportCalibration, SupportSettings
from semla_ros.core.types import BASE, AdapterMix, DomainEstimate
from semla_ros.library.retrieval import retrieve
from semla_ros.pipeline.settings import LiveSettings

MADE = SupportSettings(0.05, 2, "euclidean", "inverse", -1.0)
TERMS = tuple(SignalTerm(name, 0.5, 0.2, 0.03, 0.0, 1.0) for name in SIGNALS)
CALIBRATION = SupportCalibration(
    TERMS, 0.4, 0.1, 0.9, 0.92, 0.85, 0.04, {"a": 0.06}, 40, ("a", "b"), MADE, "a test"
)
DEFAULTS = AdaptationDefaults(0.05, 2, "euclidean", "inverse", -1.0, 0.1, 9.0, CALIBRATION)


def test_the_bundles_own_retrieval_keeps_the_promise():
    assert LiveSettings.of(Config(), DEFAULTS).calibration == CALIBRATION


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.06},
        {"top_k": 3},
        {"distance": "cosine"},
        {"similarity": "neg_distance"},
        {"null_distance": 4.0},
    ],
)
def test_another_retrieval_voids_it(change):
    assert LiveSettings.of(updated(Config(), change), DEFAULTS).calibration is None


def test_settings_that_leave_the_score_alone_keep_it():
    config = updated(Config(), {"ema_time_s": 3.0, "swap_policy": "always", "null_distance": -1.0})
    assert LiveSettings.of(config, DEFAULTS).calibration == CALIBRATION


def test_a_threshold_in_another_unit_never_says_ok(caplog):
    """Cosine distances are 2 at most: every score would pass a threshold of 1/euclidean."""
    with caplog.at_level(logging.WARNING):
        live = LiveSettings.of(updated(Config(), {"distance": "cosine"}), DEFAULTS)
    assert "set support_low" in caplog.text
    away = np.array([1e-9])
    nowhere = np.zeros(2, np.float32)
    estimate = DomainEstimate(0, nowhere, nowhere, ("a",), away, away)
    assert live.support(estimate, AdapterMix(("a",), (1.0,)), novelty=math.nan).level == "LOW"
    assert live.threshold(None) == 0, "the bundle's is a distance where no novelty is known"
    own = updated(Config(), {"distance": "cosine", "support_low": 3.0})
    assert LiveSettings.of(own, DEFAULTS).support_low == 3.0
    none = replace(DEFAULTS, support_low=0.0)
    cosine = updated(Config(), {"distance": "cosine"})
    assert LiveSettings.of(cosine, none).support_low == 0, "a bundle that never says LOW"


def test_where_nothing_may_follow_nothing_is_promised():
    config = updated(Config(), {"swap_policy": "never"})
    assert LiveSettings.of(config, DEFAULTS).calibration is None


def test_a_null_adapter_never_makes_a_frame_supported():
    live = LiveSettings.of(updated(Config(), {"null_distance": 1e-3}), DEFAULTS)
    away = np.array([4.0, 5.0])
    nowhere = np.zeros(2, np.float32)
    estimate = DomainEstimate(0, nowhere, nowhere, ("a", "b"), away, away)
    mix = retrieve(("a", "b"), away, settings=live.retrieval)
    assert mix.weight(BASE) == pytest.approx(1.0)
    assert live.support_alone(estimate) < live.support_low
    assert live.support(estimate, mix, novelty=1.0).level == "LOW"


def test_a_resealed_bundle_holds_the_calibration(tiny, tmp_path):
    root = tmp_path / "bundle"
    shutil.copytree(tiny.root, root)
    changed = replace(tiny.manifest.defaults, calibration=CALIBRATION)
    reseal(open_bundle(root), defaults=changed)
    assert open_bundle(root).manifest.defaults.calibration == CALIBRATION
    assert not list(root.glob("*.new"))


def test_an_edited_calibration_is_refused(tiny, tmp_path):
    root = tmp_path / "bundle"
    shutil.copytree(tiny.root, root)
    reseal(open_bundle(root), defaults=replace(tiny.manifest.defaults, calibration=CALIBRATION))
    manifest = root / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace("scale: 0.2\n", "scale: -0.2\n", 1))
    with pytest.raises(
        BundleError, match=r"calibration.terms\[0\].scale: expected a number above 0"
    ):
        open_bundle(root)


def test_a_calibration_of_the_old_form_leaves_the_bundle_usable(tiny, tmp_path, caplog):
    root = tmp_path / "bundle"
    shutil.copytree(tiny.root, root)
    with (root / "bundle.yaml").open("a") as manifest:
        manifest.write("calibration: {support: [0.1], expected: [0.4], offset: 0.1}\n")
    with caplog.at_level(logging.WARNING):
        assert open_bundle(root).manifest.defaults.calibration is None
    assert "left aside" in caplog.text
