"""The pipeline promises mIoU where its calibration holds, and nowhere else."""

import math
from dataclasses import replace

import pytest

from semla_ros.bundle import ModelBundle
from semla_ros.core.answers import known
from semla_ros.core.mask_signals import SIGNALS, mask_signals
from semla_ros.core.support_calibration import SignalTerm, SupportCalibration, SupportSettings
from semla_ros.core.types import AdapterMix
from semla_ros.navigator.support import promised

MADE = SupportSettings(0.001, 1, "euclidean", "inverse", -1.0)
TERMS = tuple(SignalTerm(name, 0.5, 0.5, 0.01, -1e3, 1e3) for name in SIGNALS)
CALIBRATION = SupportCalibration(
    TERMS, 0.5, 0.2, 0.9, 0.9, 0.8, 0.04, {"the plain mean": 0.07}, 100, ("red", "blue"), MADE, "-"
)


def calibrate(world, calibration):
    manifest = world.bundle.manifest
    defaults = replace(manifest.defaults, calibration=calibration)
    world.bundle = ModelBundle(world.root, replace(manifest, defaults=defaults))
    return world


@pytest.fixture
def calibrated(world):
    """The world with a calibration that covers every mask."""
    return calibrate(world, CALIBRATION)


def results(pipeline, frames):
    answers = [pipeline.step(frame) for frame in frames]
    return [a for a in answers if known(a.support)]


def last_support(pipeline, frames):
    return results(pipeline, frames)[-1].support


def test_a_covered_frame_is_promised_by_its_own_mask(calibrated, make_frames):
    with calibrated.pipeline(output_size="model") as pipeline:
        answers = results(pipeline, make_frames("red", "red", "blue", "green"))
        late = replace(make_frames("red")[0], stamp_ns=10**12)
        stale = pipeline.step(late).support
    assert len(answers) >= 3
    for answer in answers:
        expected = CALIBRATION.promise(mask_signals(answer.labels, answer.confidence))
        assert (answer.support.expected_miou, answer.support.miou_lower) == expected
    assert math.isnan(stale.expected_miou)
    assert stale.miou_lower == 0.0, "no image, no promise"


def test_the_promise_does_not_depend_on_the_size_that_is_published(calibrated, make_frames):
    frames = make_frames("red", "blue", "red")
    found = []
    for size in ("model", "input"):
        with calibrated.pipeline(output_size=size) as pipeline:
            found.append([a.support.expected_miou for a in results(pipeline, frames)])
    assert found[0] == found[1]
    assert all(map(math.isfinite, found[0]))


def test_eq_15_is_published_as_it_is(calibrated, make_frames):
    frames = make_frames("red", "red", "red")
    with calibrated.pipeline() as pipeline:
        with_promise = last_support(pipeline, frames)
    with calibrate(calibrated, None).pipeline() as pipeline:
        without = last_support(pipeline, frames)
    assert (with_promise.score, with_promise.smoothed) == (without.score, without.smoothed)
    assert math.isnan(without.expected_miou)
    assert math.isnan(without.miou_lower)


def test_a_mask_unlike_those_of_the_fit_is_not(calibrated, make_frames):
    strange = replace(TERMS[3], low=900.0)
    other = replace(CALIBRATION, terms=(*TERMS[:3], strange))
    with calibrate(calibrated, other).pipeline() as pipeline:
        last = last_support(pipeline, make_frames("red", "red", "red"))
    assert last.level == "OK"
    assert math.isnan(last.expected_miou)
    assert last.miou_lower == 0.0


@pytest.mark.parametrize("level", ["OUT_OF_LIBRARY", "STALE"])
def test_where_support_knows_nothing_nothing_is_promised(calibrated, make_frames, level):
    with calibrated.pipeline() as pipeline:
        last = last_support(pipeline, make_frames("red", "red"))
    found = promised(replace(last, level=level), CALIBRATION, (0.5,) * len(SIGNALS))
    assert math.isnan(found.expected_miou)
    assert found.miou_lower == 0.0


def test_out_of_the_library_the_pipeline_promises_nothing(calibrated, make_frames):
    with calibrated.pipeline(out_of_library=1e-6) as pipeline:
        last = last_support(pipeline, make_frames("red", "red"))
    assert last.level == "OUT_OF_LIBRARY"
    assert math.isnan(last.expected_miou)
    assert last.miou_lower == 0.0


def test_another_temperature_is_not(calibrated, make_frames):
    with calibrated.pipeline(temperature=0.5) as pipeline:
        last = last_support(pipeline, make_frames("red", "red", "red"))
    assert math.isnan(last.miou_lower)


def test_a_mix_by_hand_is_not(calibrated, make_frames):
    frames = make_frames("red", "red", "red", "red")
    with calibrated.pipeline() as pipeline:
        results(pipeline, frames[:2])
        pipeline.pin(AdapterMix(("blue",), (1.0,)))
        last = last_support(pipeline, frames[2:])
    assert math.isnan(last.miou_lower)


def test_another_class_list_is_not(calibrated, make_frames):
    frames = make_frames("red", "red", "red", "red")
    with calibrated.pipeline() as pipeline:
        results(pipeline, frames[:2])
        pipeline.set_vocabulary(["road", "sky", "tree"])
        last = last_support(pipeline, frames[2:])
    assert math.isnan(last.expected_miou)
