"""The training benchmark compares the same thing: parameters, losses, and both really learn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if find_spec("peft") is None:  # importing it needs torchvision mended first
    pytest.skip("needs peft: scripts/setup --dev", allow_module_level=True)

from semla_ros.bench.training import OURS, PEFT, ours, peft, run_training
from semla_ros.cli import main
from semla_ros.pipeline import default_bundle


def test_both_train_the_same_layers_from_the_same_loss() -> None:
    record = run_training(default_bundle(), steps=2, thread_count=1, command="c")
    mine, theirs = record.rows
    assert (mine["training"], theirs["training"]) == (OURS, PEFT)
    assert mine["trainable"] == theirs["trainable"]
    assert mine["first_loss"] == pytest.approx(theirs["first_loss"], rel=1e-4)
    for row in record.rows:
        assert 0 < row["least_ms"] <= row["p50_ms"]
        assert row["peak_mib"] > 100
    assert mine["peak_mib"] != theirs["peak_mib"], "each is of a process of its own"


@pytest.mark.parametrize("way", [ours, peft])
def test_each_learns(way) -> None:
    with way(default_bundle()) as steps:
        before = [p.detach().clone() for p in steps.every]
        steps.take(0)
        steps.take(1)
        assert any(not old.equal(new) for old, new in zip(before, steps.every, strict=True))


def test_one_step_is_no_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "training", "--steps", "1", "--out", str(tmp_path / "x.json")]) == 2
    assert "at least 2" in capsys.readouterr().err
