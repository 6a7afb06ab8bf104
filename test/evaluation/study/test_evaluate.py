from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from semla_ros.core.answers import known
from semla_ros.core.errors import BagError, ConfigError, EvaluationError
from semla_ros.data import sequence_source as sources
from semla_ros.data.inputs import InputFrame, InputOptions, open_input
from semla_ros.data.labels.domains import DomainTable
from semla_ros.data.labels.label_map import read_label_map
from semla_ros.data.labels.source import FolderTruth, TopicTruth
from semla_ros.evaluation.replay import replay
from semla_ros.evaluation.result import RunInfo
from semla_ros.evaluation.study.evaluate import evaluate
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.strategies import DEFAULT_STRATEGIES
from semla_ros.evaluation.study.study import SequenceResult, StrategyResult
from semla_ros.pipeline import build_pipeline

from .conftest import SETTINGS

ALL = ("zero-shot", "uniform", "semla", "semla-gated", "oracle", "fixed:fog=0.7,rain=0.3")


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, StrategyResult | SequenceResult):
        return all(_same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return all(_same(v, other[k]) for k, v in one.items())
    return one == other


@pytest.fixture
def topic_truth(drive, open_session):
    def made(session):
        identity = read_label_map("identity")
        return TopicTruth(drive.bag, "/truth", identity, classes=session.classes, max_pixels=10**6)

    return made


def test_two_runs_are_equal_whatever_the_blocks(
    open_session, sequence, topic_truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(strategies=ALL)
    first = evaluate(session, sequence(topic_truth(session))).result
    monkeypatch.setattr(sources, "BLOCK_FRAMES", 7)
    second = evaluate(session, sequence(topic_truth(session))).result
    assert _same(first, second)
    assert list(first.results) == list(ALL)
    assert first.scored.all()
    assert all(t.counts.sum() > 0 for t in first.results.values())


def test_the_gated_strategy_is_the_live_replay(bundle: Path, open_session, sequence) -> None:
    session = open_session(strategies=("uniform", "semla-gated", "semla"))
    result = evaluate(session, sequence()).result
    config = replace(session.config, output_size="input")
    with build_pipeline(config) as pipeline:
        frames = [s.frame for s in sequence().frames.read(on_note=print)]
        live = replay(pipeline, frames, info=RunInfo("drive"))
    gated = result.results["semla-gated"]
    assert gated.mask_crc32.tolist() == [f.mask_crc32 for f in live.frames]
    assert gated.swapped.sum() == sum(s.committed for s in live.swaps) > 0
    readings = [known(f.support) for f in live.frames]
    smoothed = [np.nan if r is None else r.smoothed for r in readings]
    np.testing.assert_array_equal(result.smoothed, smoothed)
    assert result.levels == tuple("" if r is None else r.level for r in readings)


def test_the_gate_without_the_network_decides_as_the_live_pipeline(open_session, sequence) -> None:
    for leave_out in ("", "domain"):
        session = open_session(strategies=("semla-gated", "semla-gated@0.3"), leave_out=leave_out)
        assert session.config.swap_trigger == 0.3
        results = evaluate(session, sequence()).result.results
        live, rerun = results["semla-gated"], results["semla-gated@0.3"]
        assert live.swapped.any()
        assert _same(replace(live, strategy=""), replace(rerun, strategy=""))


def test_strategies_use_the_adapters_they_should(open_session, sequence) -> None:
    session = open_session(strategies=ALL)
    result = evaluate(session, sequence()).result
    names = [*session.names, "base"]
    shares = {s: t.weights for s, t in result.results.items()}
    assert (shares["zero-shot"] == np.eye(4)[3]).all()
    np.testing.assert_allclose(shares["uniform"][:, :3], 1 / 3)
    fixed = dict(zip(names, shares["fixed:fog=0.7,rain=0.3"][0].tolist(), strict=True))
    assert fixed == pytest.approx({"fog": 0.7, "rain": 0.3, "night": 0, "base": 0})
    own = [names.index(d) for d in result.domains]
    assert (shares["oracle"].argmax(axis=1) == own).all()
    assert (shares["semla"].argmax(axis=1) == own).all()
    assert not result.results["zero-shot"].swapped.any()
    assert result.results["oracle"].swapped.sum() == 2


def test_left_out_adapters_are_never_used(open_session, sequence) -> None:
    given = (*DEFAULT_STRATEGIES, "adapter-soup", "top-k-weighted", "late-fusion")
    for pattern in ("domain", "n*"):
        session = open_session(leave_out=pattern, strategies=given)
        result = evaluate(session, sequence()).result
        columns = {"domain": result.domains, "n*": ["night"] * result.frames}[pattern]
        for strategy in set(given) - {"oracle", "zero-shot"}:
            weights = result.results[strategy].weights
            used = [weights[i, session.names.index(d)] for i, d in enumerate(columns)]
            assert not any(used)
        assert result.results["oracle"].weights.any()


def test_returning_to_the_base_is_bit_identical(open_session, sequence) -> None:
    before, after = evaluate(open_session(), sequence()).result.probe_crc32
    assert before == after


def test_truth_from_a_folder_counts_as_truth_on_a_topic(
    drive, open_session, sequence, topic_truth
) -> None:
    session = open_session(strategies=("zero-shot", "semla"))
    on_topic = evaluate(session, sequence(topic_truth(session))).result
    folder = FolderTruth(
        drive.labels, read_label_map("identity"), session.classes, max_pixels=10**6
    )
    images = replace(sequence(folder), frames=open_input(drive.images, InputOptions(fps=5)))
    in_folder = evaluate(session, images).result
    for strategy in ("zero-shot", "semla"):
        mine, other = on_topic.results[strategy], in_folder.results[strategy]
        assert np.array_equal(mine.counts, other.counts)


def test_missing_truth_is_not_scored(drive, tmp_path: Path, open_session, sequence) -> None:
    for i in (4, 17):
        (tmp_path / f"{i}.png").write_bytes((drive.labels / f"{i}.png").read_bytes())
    session = open_session(strategies=("zero-shot",))
    truth = FolderTruth(tmp_path, read_label_map("identity"), session.classes, max_pixels=10**6)
    images = open_input(drive.images, InputOptions())
    result = evaluate(session, replace(sequence(truth), frames=images)).result
    assert np.flatnonzero(result.scored).tolist() == [4, 17]
    assert np.flatnonzero(result.results["zero-shot"].counts.any(axis=(1, 2))).tolist() == [4, 17]


def test_truth_that_never_fits_is_one_line_at_once(drive, open_session, sequence) -> None:
    session = open_session(strategies=("zero-shot",))
    camvid = FolderTruth(
        drive.labels, read_label_map("cityscapes:train_ids"), session.classes, max_pixels=10**6
    )
    images = replace(sequence(camvid), frames=open_input(drive.images, InputOptions()))
    evaluate(session, images)  # ids 0..3 are train ids, too
    session_classes = session.classes[:2]
    wrong = FolderTruth(
        drive.labels, read_label_map("identity"), session_classes, max_pixels=10**6
    )
    with pytest.raises(EvaluationError, match=r"drive: 0\.png: .*out of range: \[2, 3\]"):
        evaluate(session, replace(images, truth=wrong))


def test_a_domain_without_its_adapter_has_no_oracle(open_session, sequence) -> None:
    result = evaluate(open_session(), sequence(domains=DomainTable("dusk"))).result
    assert "oracle" not in result.results
    assert any("no oracle" in note for note in result.notes)


@dataclass
class _Breaking:
    """Frames that end in an error."""

    frames: Iterator[InputFrame]
    error: BaseException
    at: int
    topic: str = ""
    count: int = 0
    files: tuple[Path, ...] = ()

    def read(self, **_: object) -> Iterator[InputFrame]:
        for frame in self.frames:
            if frame.index == self.at:
                raise self.error
            yield frame


@pytest.mark.parametrize("error", [BagError("the disk is gone"), KeyboardInterrupt()])
def test_what_ends_it_early_leaves_whole_blocks(
    open_session, sequence, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK_FRAMES", 4)
    whole = sequence()
    session = open_session()
    full = evaluate(session, whole).result
    broken = _Breaking(whole.frames.read(on_note=print), error, at=10)
    result = evaluate(session, replace(whole, frames=broken)).result
    assert result.frames == 8
    assert result.ended_early in ("the disk is gone", "interrupted by the user")
    for strategy, part in result.results.items():
        assert np.array_equal(part.mask_crc32, full.results[strategy].mask_crc32[:8])
    first = _Breaking(whole.frames.read(on_note=print), error, at=0)
    with pytest.raises(type(error)):
        evaluate(session, replace(whole, frames=first))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategies": ("semla", "best")}, "expected strategies of .* got 'best'"),
        ({"strategies": ()}, "at least one strategy"),
        ({"strategies": ("semla-gated@2",)}, "trigger of 0 to 1"),
        ({"leave_out": "summer"}, "fits \\[\\]"),
        ({"leave_out": "*"}, "expected --leave-out to fit some"),
        ({"changes": {"tau": 1}}, "unknown parameter 'tau'"),
    ],
)
def test_wrong_settings_are_one_line(open_session, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_session(**settings)


@pytest.fixture
def blind_bundle(bundle: Path, tmp_path: Path) -> Path:
    """The small bundle without its navigator."""
    folder = shutil.copytree(bundle, tmp_path / "blind")
    (folder / "navigator.onnx").unlink()
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    del manifest["navigator"]
    del manifest["files"]["navigator.onnx"]
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def test_without_a_navigator_explicit_mixes_are_compared(blind_bundle: Path, sequence) -> None:
    explicit = ("zero-shot", "uniform", "oracle")
    session = Session(StudySettings(blind_bundle, explicit, changes=SETTINGS))
    try:
        result = evaluate(session, sequence()).result
    finally:
        session.close()
    assert result.embeddings.shape == (30, 0)
    assert result.distances.shape == (30, 0)
    assert np.isnan(result.support).all()
    assert result.results["oracle"].swapped.sum() == 2
    with pytest.raises(ConfigError, match=r"\['semla', 'semla-gated'\] need a navigator"):
        Session(StudySettings(blind_bundle, changes=SETTINGS))


def test_truth_that_fits_only_some_frames_is_counted_in_a_note(
    drive, tmp_path: Path, open_session, sequence
) -> None:
    folder = shutil.copytree(drive.labels, tmp_path / "labels")
    cv2.imwrite(str(folder / "7.png"), np.full((24, 32), 9, np.uint8))
    cv2.imwrite(str(folder / "9.png"), np.zeros((24, 24), np.uint8))
    (folder / "11.png").write_bytes(b"no image")
    session = open_session(strategies=("zero-shot",))
    truth = FolderTruth(folder, read_label_map("identity"), session.classes, max_pixels=10**6)
    images = open_input(drive.images, InputOptions())
    whole = replace(sequence(truth), frames=images)
    result = evaluate(session, whole).result
    assert np.flatnonzero(~result.scored).tolist() == [7, 9, 11]
    (note,) = (n for n in result.notes if n.startswith("3 frames not scored: "))
    for message in ("out of range: [9]", "truth of 24 x 24 does not fit", "11.png"):
        assert message in note


def test_frames_that_cannot_be_used_are_skipped_by_all(
    drive, tmp_path: Path, open_session, sequence
) -> None:
    folder = shutil.copytree(drive.images, tmp_path / "images")
    (folder / "3.png").write_bytes(b"no image")
    images = open_input(folder, InputOptions())
    result = evaluate(open_session(), replace(sequence(), frames=images)).result
    assert [s.index for s in result.skipped] == [3]
    assert result.frames == 29
    assert {len(t.swapped) for t in result.results.values()} == {29}
