from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.study.sequence import sequence_metrics
from semla_ros.evaluation.study.stages import stages_of
from semla_ros.evaluation.study.study import SequenceResult

from .studies import ADAPTERS, fake_recording

CLEAR, FOG, BASE = np.eye(3, dtype=np.float32)


def _drive(
    mixes: list[np.ndarray],
    domains: tuple[str, ...],
    *,
    semla: list[np.ndarray] | None = None,
    good: list[int] | None = None,
) -> SequenceResult:
    """Return a drive at 10 Hz whose gated stream used `mixes`; IoU of every class is good/10."""
    recording = fake_recording(domains=domains, strategies=("semla", "semla-gated"))
    weights = np.stack(mixes)
    changed = np.r_[False, (np.diff(weights, axis=0) != 0).any(axis=1)]
    hits = np.array(good or [10] * len(mixes))[:, None].repeat(3, 1)
    counts = np.stack([hits, np.zeros_like(hits), 10 - hits], axis=1)
    gated = replace(
        recording.results["semla-gated"], weights=weights, swapped=changed, counts=counts
    )
    per_frame = replace(recording.results["semla"], weights=np.stack(semla or mixes))
    return replace(recording, results={"semla": per_frame, "semla-gated": gated})


THERE_AND_BACK = ("clear-day",) * 10 + ("fog-day",) * 10 + ("clear-day",) * 10


def test_stages_know_their_visits_and_adapters() -> None:
    drive = _drive([CLEAR] * 32, ("", *THERE_AND_BACK, ""))
    stages = stages_of(drive, ADAPTERS)
    assert [(s.domain, s.start, s.stop, s.visit, s.expected) for s in stages] == [
        ("clear-day", 1, 11, 0, "clear-day"),
        ("fog-day", 11, 21, 0, "fog-day"),
        ("clear-day", 21, 31, 1, "clear-day"),
    ]


def test_delays_are_counted_from_the_shift() -> None:
    drive = _drive([CLEAR] * 13 + [FOG] * 8 + [CLEAR] * 9, THERE_AND_BACK)
    metrics = sequence_metrics(drive, "semla-gated", ADAPTERS)
    assert [o.delay_frames for o in metrics.stages] == [0, 3, 1]
    assert [o.delay_s for o in metrics.stages] == pytest.approx([0.0, 0.3, 0.1])
    assert (metrics.shifts, metrics.missed_shifts) == (2, 0)
    assert metrics.mean_delay_frames == 2.0
    assert metrics.mean_delay_s == pytest.approx(0.2)
    assert metrics.false_swaps_per_1000 == 0.0
    assert metrics.fused_share == pytest.approx(2 / 30)
    assert metrics.dwell_s == pytest.approx(0.8)


def test_a_shift_that_is_never_noticed_is_missed() -> None:
    metrics = sequence_metrics(_drive([CLEAR] * 30, THERE_AND_BACK), "semla-gated", ADAPTERS)
    assert (metrics.shifts, metrics.missed_shifts) == (2, 1)
    assert [o.missed for o in metrics.stages] == [False, True, False]
    assert metrics.mean_delay_frames == 0.0
    assert math.isnan(metrics.dwell_s)


def test_swaps_to_what_does_not_belong_are_false() -> None:
    mixes = [CLEAR] * 4 + [FOG] + [CLEAR] * 5 + [FOG] * 10 + [BASE] + [CLEAR] * 9
    metrics = sequence_metrics(_drive(mixes, THERE_AND_BACK), "semla-gated", ADAPTERS)
    assert [o.false_swaps for o in metrics.stages] == [1, 0, 1]
    assert [o.swaps for o in metrics.stages] == [2, 1, 2]
    assert metrics.false_swaps_per_1000 == pytest.approx(2000 / 30)


def test_swaps_that_are_late_or_early_are_not_false() -> None:
    softer = np.array([0.8, 0.2, 0.0], np.float32)
    late = [CLEAR] * 11 + [softer] * 2 + [FOG] * 7
    drive = _drive(late, THERE_AND_BACK[:20])
    assert sequence_metrics(drive, "semla-gated", ADAPTERS).false_swaps_per_1000 == 0.0
    early = [CLEAR] * 8 + [FOG] * 12
    drive = _drive(early, THERE_AND_BACK[:20])
    assert sequence_metrics(drive, "semla-gated", ADAPTERS).false_swaps_per_1000 == 0.0


def test_a_mix_without_a_heaviest_member_belongs_nowhere() -> None:
    even = np.array([0.5, 0.5, 0.0], np.float32)
    metrics = sequence_metrics(_drive([even] * 30, THERE_AND_BACK), "semla-gated", ADAPTERS)
    assert metrics.missed_shifts == metrics.shifts == 2


def test_weights_that_shift_within_the_right_adapter_are_no_false_swap() -> None:
    softer = np.array([0.8, 0.2, 0.0], np.float32)
    mixes = [CLEAR] * 5 + [softer] * 5
    metrics = sequence_metrics(_drive(mixes, ("clear-day",) * 10), "semla-gated", ADAPTERS)
    assert metrics.stages[0].swaps == 1
    assert metrics.false_swaps_per_1000 == 0.0


def test_a_left_out_adapter_is_not_expected() -> None:
    drive = _drive([FOG] * 30, THERE_AND_BACK, semla=[FOG] * 10 + [BASE] * 10 + [FOG] * 10)
    stages = stages_of(drive, ADAPTERS, leave_out="domain")
    assert [s.expected for s in stages] == ["fog-day", "base", "fog-day"]
    unknown = _drive([FOG] * 4, ("dusk",) * 4)
    assert stages_of(unknown, ADAPTERS)[0].expected == "fog-day"


def test_mious_per_visit_and_until_steady() -> None:
    good = [10] * 10 + [2] * 6 + [8] * 14 + [9] * 20
    domains = ("clear-day",) * 10 + ("fog-day",) * 20 + ("clear-day",) * 20
    drive = _drive([CLEAR] * 50, domains, good=good)
    metrics = sequence_metrics(drive, "semla-gated", ADAPTERS)
    assert metrics.forward["clear-day"] == pytest.approx(1.0)
    assert metrics.backward == {"clear-day": pytest.approx(0.9)}
    fog = metrics.stages[1]
    assert fog.steady_miou == pytest.approx(0.8)
    assert fog.miou == pytest.approx((6 * 2 + 14 * 8) / 200)
    assert fog.settle_frames == 6  # 0.76 needs a window without any of the six
    assert metrics.stages[0].settle_frames == 0


def test_stages_without_truth_have_no_miou() -> None:
    drive = _drive([CLEAR] * 30, THERE_AND_BACK)
    gated = drive.results["semla-gated"]
    unscored = replace(
        drive,
        scored=np.zeros(30, np.bool_),
        results={**drive.results, "semla-gated": replace(gated, counts=gated.counts * 0)},
    )
    outcome = sequence_metrics(unscored, "semla-gated", ADAPTERS).stages[0]
    assert math.isnan(outcome.miou)
    assert outcome.settle_frames is None


def test_the_base_is_restored_where_both_probes_agree() -> None:
    drive = _drive([CLEAR] * 30, THERE_AND_BACK)
    for probe, expected in (((7, 7), True), ((7, 8), False), ((), None)):
        tried = replace(drive, probe_crc32=probe)
        assert sequence_metrics(tried, "semla-gated", ADAPTERS).base_restored is expected


def test_an_unknown_strategy_names_those_there_are() -> None:
    with pytest.raises(EvaluationError, match=r"'semla-gated'.*not 'oracle'"):
        sequence_metrics(_drive([CLEAR] * 30, THERE_AND_BACK), "oracle", ADAPTERS)
