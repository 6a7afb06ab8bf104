"""verdicts: how bad counters are, and that everything that is wrong is said."""

import pytest

from semla_ros.nodes import statistics
from semla_ros.nodes.statistics import TOLD_MS, FrameStatistics
from semla_ros.nodes.transport_loss import LossReport
from semla_ros.nodes.verdicts import of_adapters, of_errors, of_losses
from semla_ros.nodes.worker import WorkerReport
from semla_ros.pipeline.health import PipelineHealth

OK, WARN, ERROR = b"\x00", b"\x01", b"\x02"


def worker(in_a_row, failed, of):
    return WorkerReport(
        0, 0, {}, in_a_row, "FrameError: torn", 0.0, recent=of, recent_errors=failed
    )


@pytest.mark.parametrize(
    ("in_a_row", "failed", "of", "level", "says"),
    [
        (0, 0, 30, None, None),
        (0, 1, 2, None, None),
        (0, 2, 30, None, None),
        (1, 1, 5, WARN, "1 errors in a row: FrameError: torn"),
        (5, 5, 5, ERROR, "5 errors in a row: FrameError: torn"),
        (0, 3, 30, WARN, "10% of the last 30 images failed, 0 errors in a row: FrameError: torn"),
        (0, 11, 30, WARN, "37% of the last 30 images failed, 0 errors in a row"),
        (0, 12, 30, ERROR, "40% of the last 30 images failed, 0 errors in a row"),
        (1, 15, 30, ERROR, "50% of the last 30 images failed, 1 errors in a row"),
        (0, 15, 30, ERROR, "50% of the last 30 images failed, 0 errors in a row"),
    ],
)
def test_failures_are_judged_in_a_row_and_by_their_share(in_a_row, failed, of, level, says):
    verdict = of_errors(worker(in_a_row, failed, of))
    assert (verdict and verdict[0]) == level
    assert says is None or verdict[1].startswith(says)


def test_losses_are_told_from_a_share_on():
    assert of_losses(LossReport(10, 10, 0.049)) == ""
    assert of_losses(LossReport(2, 2, 0.5)) == ""
    assert of_losses(LossReport(30, 10, 0.19)).startswith("19% of the images")


def test_everything_that_is_wrong_with_the_adapters_is_said():
    assert of_adapters(PipelineHealth(mix="fog=1"), swap_error="") == (OK, "fog=1")
    assert of_adapters(PipelineHealth(), swap_error="") == (OK, "none")
    wrong = PipelineHealth(unusable={"fog": "NaN", "rain": "torn"}, unknown_excluded=("snow",))
    level, message = of_adapters(wrong, swap_error="no memory")
    assert level == WARN
    assert message == (
        "unusable: fog: NaN; rain: torn | excluded and not in the library: snow: correct "
        "`exclude` | swap failed: no memory"
    )


def test_a_thousand_unusable_adapters_make_one_short_message():
    gone = PipelineHealth(unusable={f"a{i}": "gone" for i in range(1000)})
    message = of_adapters(gone, swap_error="")[1]
    assert message == "unusable: a0, a1, a2, a3, a4, a5, a6, a7, 992 more: gone"
    torn = PipelineHealth(unusable={f"a{i}": f"byte {i}" for i in range(1000)})
    assert len(of_adapters(torn, swap_error="")[1]) < 200


def test_a_failed_swap_is_told_until_one_succeeds(monkeypatch):
    numbers = FrameStatistics()
    numbers.swapped(committed=False, error="no memory")
    assert numbers.values().last_swap_error == "no memory"
    numbers.swapped(committed=True, error="")
    values = numbers.values()
    assert (values.last_swap_error, values.failed_swaps, values.swaps) == ("", 1, 1)


def test_a_failed_swap_that_nobody_asks_for_again_is_told_for_a_while(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(statistics, "now_ms", lambda: now[0])
    numbers = FrameStatistics()
    numbers.swapped(committed=False, error="no memory")
    now[0] = TOLD_MS
    assert numbers.values().last_swap_error == "no memory"
    now[0] += 1.0
    assert (numbers.values().last_swap_error, numbers.values().failed_swaps) == ("", 1)
