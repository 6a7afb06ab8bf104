"""`semla loop demo` as a newcomer runs it, only shorter: real node, real commands, a page."""

import importlib.util
import json
import re

import pytest

from semla_ros.core.errors import ConfigError
from semla_ros.demo.loop_run import BUNDLE, CAPTURES, GAPS, MISSING, LoopPlan, run

pytestmark = pytest.mark.ros
ROUTE = ((("clear-day", 2.0), ("snow-day", 12.0)), (("snow-night", 12.0),))
STEPS = ("--set", "steps=2", "--set", "warmup=1")
PLAN = LoopPlan(ROUTE, fps=5.0, known_frames=8, least=32, train=STEPS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    for module in ("rclpy", "semla_ros.msg", "torch", "sklearn"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: scripts/setup --dev, then . scripts/ros_env")
    out, said = tmp_path_factory.mktemp("loop"), []
    page, outcome = run(out, said.append, PLAN)
    return out, said, page, outcome


def test_the_gap_is_captured_found_and_judged(made):
    out, _, _, outcome = made
    captured = {name: lap.captured for name, lap in outcome.first.domains.items()}
    assert captured["snow-day"] + captured["snow-night"] > 8
    assert captured["clear-day"] <= 1
    assert outcome.gaps
    assert {d for gap in outcome.gaps for d in gap.domains} >= {"snow-day"}
    # so few images would silence the alarm: none may serve, and it is said why
    for gap in outcome.gaps:
        assert gap.verdict is None or not gap.verdict.passed
    assert not any((out / BUNDLE / "library" / name).exists() for name in MISSING)
    assert (out / CAPTURES / "capture.json").is_file()
    assert list((out / GAPS).glob("*/labels/*.png"))


def test_no_frame_is_lost_and_the_library_was_reloaded(made):
    _, _, _, outcome = made
    sent = round(sum(seconds for street in ROUTE for _, seconds in street) * PLAN.fps)
    assert (outcome.first.sent, outcome.second.sent, outcome.full.sent) == (sent,) * 3
    reasons = [swap.reason for swap in outcome.second.answers.swaps if swap.committed]
    assert "library" in reasons
    assert "library" not in [swap.reason for swap in outcome.first.answers.swaps]


def test_what_was_done_is_told_and_written(made):
    out, said, page, outcome = made
    assert said == [step.what for step in outcome.steps]
    assert "semla gaps captures --bundle bundle --out gaps" in said
    assert any(what.startswith("semla loop train gaps/") for what in said)
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["lap_2"]["domains"]) == {name for street in ROUTE for name, _ in street}
    assert {"semla_ros", "python"} <= set(summary["versions"])
    text = page.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text)
    for words in ("Both laps", "What was captured and trained", "What it cost"):
        assert words in text


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    pytest.importorskip("rclpy", reason="needs rclpy: scripts/setup")
    (tmp_path / "precious").write_text("")
    with pytest.raises(ConfigError, match="expected a new folder"):
        run(tmp_path, lambda _: None, PLAN)
