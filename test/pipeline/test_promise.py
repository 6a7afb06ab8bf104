"""The pipeline promises mIoU where its calibration holds, and nowhere else."""

import math
from dataclasses import replace

import pytest

from semla_ros.bundle import ModelBundle
from semla_ros.support_calibration import SupportCalibration, SupportSettings
from semla_ros.types import AdapterMix

MADE = SupportSettings(0.001, 1, "euclidean", "inverse", -1.0)
CALIBRATION = SupportCalibration(
    (0.0, 1e6), (0.5, 0.5), 0.2, 0.9, 0.9, 0.8, 100, ("red", "blue"), MADE, "a test"
)


@pytest.fixture
def calibrated(world):
    """The world with a calibration that always expects 0.5 and promises 0.3."""
    manifest = world.bundle.manifest
    defaults = replace(manifest.defaults, calibration=CALIBRATION)
    world.bundle = ModelBundle(world.root, replace(manifest, defaults=defaults))
    return world


def readings(pipeline, frames):
    results = [pipeline.step(frame) for frame in frames]
    return [r.support for r in results]


def test_a_covered_frame_is_promised(calibrated, make_frames):
    with calibrated.pipeline() as pipeline:
        last = readings(pipeline, make_frames("red", "red", "red"))[-1]
        assert (last.expected_miou, last.miou_lower) == (0.5, pytest.approx(0.3))
        (stale,) = readings(pipeline, [replace(make_frames("red")[0], stamp_ns=10**12)])
    assert math.isnan(stale.expected_miou)
    assert stale.miou_lower == 0.0, "no image, no promise"


def test_another_temperature_is_not(calibrated, make_frames):
    with calibrated.pipeline(temperature=0.5) as pipeline:
        last = readings(pipeline, make_frames("red", "red", "red"))[-1]
    assert math.isnan(last.miou_lower)


def test_a_mix_by_hand_is_not(calibrated, make_frames):
    frames = make_frames("red", "red", "red", "red")
    with calibrated.pipeline() as pipeline:
        readings(pipeline, frames[:2])
        pipeline.pin(AdapterMix(("blue",), (1.0,)))
        last = readings(pipeline, frames[2:])[-1]
    assert math.isnan(last.miou_lower)


def test_another_class_list_is_not(calibrated, make_frames):
    frames = make_frames("red", "red", "red", "red")
    with calibrated.pipeline() as pipeline:
        readings(pipeline, frames[:2])
        pipeline.set_vocabulary(["road", "sky", "tree"])
        last = readings(pipeline, frames[2:])[-1]
    assert math.isnan(last.expected_miou)
