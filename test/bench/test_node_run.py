"""Figures of a run from synthetic stamps: every one is known beforehand."""

import numpy as np
import pytest

from semla_ros.bench.node_bench import search_peak
from semla_ros.bench.node_run import (
    figures,
    keeps_up,
    overheads,
    run_of,
    stage_split,
    stale_frames,
    timeline,
)

MS = 1_000_000
PERIOD = 100


def record(*, frames=20, latency=40, infer=30, lost=(), **changes):
    """Return what the stopwatch says of an even run."""
    sent = [1_000 * MS + i * PERIOD * MS for i in range(frames)]
    kept = [s for i, s in enumerate(sent) if i not in lost]
    stages = {"receive": 2.0, "queue": 1.0, "infer": float(infer), "commit": 0.01}
    return {
        "sent_ns": sent,
        "late_ms": [0.1] * frames,
        "masks": [[s, s + latency * MS] for s in kept],
        "stages": [[s, stages | {"age_at_publish": latency - 2.0}] for s in kept],
        "swaps": [],
        "orders": [],
        "dropped_by_node": len(lost),
        **changes,
    }


def swap(stamp, *, reason="domain", committed=True, stall=0.1):
    return {
        "stamp_ns": stamp,
        "arrived_ns": stamp,
        "to": "x=1",
        "reason": reason,
        "committed": committed,
        "error": "" if committed else "broken",
        "detection_ms": 0.0,
        "fuse_ms": 5.0,
        "load_ms": 3.0,
        "stall_ms": stall,
    }


def test_an_even_run_is_what_it_is():
    run = run_of(record(lost=(4, 5)))
    found = figures(run)
    assert (found["sent"], found["answered"], found["missed"]) == (20, 18, 2)
    assert found["dropped_by_node"] == 2
    assert found["latency_p50"] == pytest.approx(40)
    assert found["age_p50"] == pytest.approx(38)
    assert found["node_overhead_p50"] == pytest.approx(10)
    assert found["stale"] == found["late"] == found["stalled"] == 0
    assert found["jitter_mean"] == pytest.approx(2 * 200 / 16)  # the gap of two, before and after


def test_answers_to_other_frames_do_not_count():
    given = record()
    given["masks"].append([123, 456])
    given["stages"].append([123, {"infer": 1.0}])
    run = run_of(given)
    assert len(run.arrived) == len(run.stages) == 20


def test_a_mask_twice_or_out_of_order_is_stale():
    given = record()
    given["masks"].append(given["masks"][-1])
    assert stale_frames(run_of(given)) == 1
    given = record()
    given["masks"][3], given["masks"][4] = given["masks"][4], given["masks"][3]
    assert stale_frames(run_of(given)) == 1


def test_a_frame_that_was_begun_while_a_newer_one_waited_is_stale():
    given = record()
    given["stages"][7][1]["superseded"] = 5.0
    assert stale_frames(run_of(given)) == 1
    given["stages"][7][1]["superseded"] = 0.2  # came in the moment between taking and beginning
    assert stale_frames(run_of(given)) == 0


def test_late_masks_are_counted_beside():
    assert figures(run_of(record(latency=150)))["late"] == 20


def test_swaps_and_what_frames_waited_for():
    stamp = 1_000 * MS
    given = record(
        swaps=[swap(stamp), swap(stamp, reason="pinned", stall=4.0), swap(stamp, committed=False)],
        orders=[[stamp, stamp + 50 * MS, True, ""], [stamp, stamp + 9 * MS, False, "no"]],
    )
    given["stages"][2][1]["commit"] = 4.0
    found = figures(run_of(given))
    assert (found["swaps"], found["failed_swaps"], found["domain_swaps"]) == (2, 1, 1)
    assert found["stalled"] == 1
    assert found["stall_max"] == pytest.approx(4)


def test_the_stages_of_a_frame_and_the_way_back():
    split = stage_split(run_of(record()))
    assert split["infer"]["p50"] == 30
    assert split["return"]["p50"] == pytest.approx(2)
    assert overheads(run_of(record())) == pytest.approx([10] * 20)


def test_a_timeline_starts_at_the_first_frame():
    run = run_of(record(frames=3, swaps=[swap(1_000 * MS + 150 * MS), swap(0)]))
    assert timeline(run) == {
        "seconds": [0.0, 0.1, 0.2],
        "latency_ms": [40.0, 40.0, 40.0],
        "swap_seconds": [0.15],
    }


def test_a_run_without_any_answer_has_figures():
    given = record()
    given["masks"] = given["stages"] = []
    found = figures(run_of(given))
    assert found["missed"] == 20
    assert "latency_p50" not in found
    assert not np.isnan(found["stall_max"])


@pytest.mark.parametrize("limit", [0.4, 3.0, 17.3, 39.9])
def test_the_peak_is_found_within_three_percent_and_was_measured(limit):
    probed = []

    def keeps_up(hz):
        probed.append(hz)
        return hz <= limit

    peak = search_peak(keeps_up, high=40.0)
    assert peak in probed
    assert limit * 0.96 <= peak <= limit
    assert len(probed) < 16


def test_a_peak_above_or_below_everything():
    assert search_peak(lambda _: True, high=40.0) == 40.0
    assert search_peak(lambda _: False, high=40.0) == 0.0


@pytest.mark.parametrize(
    ("lost", "loss", "kept"),
    [((), 0.0, True), ((5,), 0.0, False), ((5,), 0.05, True), ((5, 6), 0.05, False)],
)
def test_a_rate_is_kept_up_within_the_loss(lost, loss, kept):
    assert keeps_up(run_of(record(lost=lost)), loss=loss) is kept


def test_answers_that_fall_behind_are_not_kept_up():
    given = record()
    given["masks"] = [[s, s + (i + 1) * 50 * MS] for i, s in enumerate(given["sent_ns"])]
    assert not keeps_up(run_of(given), loss=0.01)
