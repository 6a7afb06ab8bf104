"""`semla evaluate` from the command line to the exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from semla_ros.cli import main
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter
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


def test_labels_of_other_names_are_told_and_fail(
    drive, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for label in drive.labels.iterdir():
        shutil.copy(label, others / f"{label.stem}_P.png")
    words = [str(drive.images), "--labels", str(others), "--strategies", "zero-shot"]
    out = tmp_path / "out"
    code = main(["evaluate", *words, "--bundle", str(bundle), "--out", str(out), *_FAST])
    told = capsys.readouterr()
    assert code == 1
    assert "none of its frames was scored" in told.err
    assert "'0_P.png', but none belongs to a frame, such as '0'" in told.out


def test_labels_that_come_late_are_told_with_their_offset_and_found_with_the_option(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / "late.mcap") as bag:
        for i in range(1, 5):
            stamp = i * 200_000_000
            for topic, late, shape in (("/camera", 0, (24, 32, 3)), ("/truth", 1, (24, 32))):
                at = stamp + late * 20_000_000
                image = np.zeros(shape, np.uint8)
                bag.write(topic, IMAGE, image_fields(image, stamp_ns=at, frame_id="c"), at)
    words = [str(tmp_path / "late.mcap"), "--labels", "/truth", "--strategies", "zero-shot"]
    place = ["--bundle", str(bundle), "--out"]
    assert main(["evaluate", *words, *place, str(tmp_path / "one"), *_FAST]) == 1
    told = capsys.readouterr().out
    assert "20.0 ms behind their frames" in told
    option = ["--label-tolerance", "0.025"]
    assert option[0] + " " + option[1] in told
    assert main(["evaluate", *words, *option, *place, str(tmp_path / "two"), *_FAST]) == 0
    assert "4 frames, 4 scored" in capsys.readouterr().out


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
