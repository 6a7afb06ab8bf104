"""`semla evaluate` from the command line to the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from semla_ros.cli import main
from semla_ros.evaluation.study.store import load_study

_FAST = ("--engine", "onnx", "--param", "threads=1", "--no-report")


def test_a_study_from_the_command_line(
    drive, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            *("evaluate", str(drive.bag), "--bundle", str(bundle), "--out", str(tmp_path)),
            *("--labels", "/truth", "--domains", str(drive.domains), *_FAST),
            *("--strategies", "zero-shot,semla,fixed:fog=1+rain=1", "--curve", "0.2,0.6"),
        ]
    )
    told = capsys.readouterr().out
    assert code == 0
    study = load_study(tmp_path)
    assert study.info.strategies == (
        *("zero-shot", "semla", "fixed:fog=1,rain=1"),
        *("semla-gated@0.2", "semla-gated@0.6"),
    )
    assert "mIoU, %" in told
    assert "drive: 30 frames, 30 scored" in told
    assert f"wrote {tmp_path / 'results.json'}" in told


def test_unlabelled_input_is_evaluated_without_scores(
    drive, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            "evaluate",
            f"dusk={drive.images}",
            "--bundle",
            str(bundle),
            "--out",
            str(tmp_path),
            *_FAST,
        ]
    )
    assert code == 0
    study = load_study(tmp_path)
    assert not study.recordings[0].scored.any()
    assert "dusk: 30 frames, 0 scored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{images}", "--labels", "/truth"], "expected a folder of labels"),
        (["{bag}", "--topic", "/camera", "--labels", "/nothing"], "no image topic '/nothing'"),
        (["{bag}", "--labels", "/truth", "--label-map", "kitti"], "expected a label map"),
        (["{bag}"], "2 image topics"),
        (["none.mcap"], "found nothing"),
        (["{images}", "--strategies", "best"], "expected strategies"),
        (["{images}", "--param", "tau=1"], "unknown parameter 'tau'"),
        (["{images}", "--domains", "none.csv"], "none.csv' cannot be read"),
    ],
)
def test_mistakes_are_one_line(
    drive,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    given = [w.format(images=drive.images, bag=drive.bag) for w in words]
    code = main(["evaluate", *given, "--bundle", str(bundle), "--out", str(tmp_path), *_FAST])
    told = capsys.readouterr().err.strip()
    assert code == 2
    assert message in told
    assert len(told.splitlines()) <= 2  # the second one is the warning of a second try


def test_a_missing_recording_is_told_by_the_exit_code(
    drive, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(drive.images), "none.mcap", "--strategies", "zero-shot"]
    code = main(["evaluate", *words, "--bundle", str(bundle), "--out", str(tmp_path), *_FAST])
    assert code == 1
    assert "none.mcap: expected an input at 'none.mcap'" in capsys.readouterr().err
