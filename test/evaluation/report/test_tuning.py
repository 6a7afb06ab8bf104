"""Tuning on a tiny bundle: what is written is what the launch file takes."""

import shutil
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[evaluate]'")

from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.core.config import Config, updated
from semla_ros.core.errors import BundleError, EvaluationError
from semla_ros.core.types import AdapterMix
from semla_ros.data.tasks import tasks_of
from semla_ros.evaluation.analysis.mix_sweep import (
    Choice,
    ChoiceScore,
    MixSweep,
    null_distances,
    rounded,
)
from semla_ros.evaluation.analysis.rerun import GateScore, chosen_gate
from semla_ros.evaluation.analysis.store_calibration import write_calibration
from semla_ros.evaluation.analysis.thresholds import Threshold, Thresholds
from semla_ros.evaluation.report.decisions import take_retrieval, take_thresholds
from semla_ros.evaluation.report.tuning import TuneRequest, tune
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.store import load_study, save_study

FRAMES = 8


@pytest.fixture(scope="module")
def world(tiny, tmp_path_factory):
    """Three labelled folders of images named like domains, a bundle, and its study."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(tiny.root, root / "bundle")
    rng = np.random.default_rng(8)
    classes = len(tiny.manifest.vocabulary.names)
    inputs, labels = [], []
    for domain in ("one", "two", "three"):
        for kind in ("images", "labels"):
            (root / domain / kind).mkdir(parents=True)
        color = rng.integers(0, 256, 3)
        for i in range(FRAMES):
            image = np.clip(color + rng.integers(0, 60, (32, 48, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / domain / "images" / f"{i:03d}.png"), image)
            truth = rng.integers(0, classes, (32, 48)).astype(np.uint8)
            cv2.imwrite(str(root / domain / "labels" / f"{i:03d}.png"), truth)
        inputs.append(f"{domain}={root / domain / 'images'}")
        labels += ["--labels", f"{domain}={root / domain / 'labels'}"]
    bundle = ["--bundle", str(root / "bundle"), "--engine", "onnx"]
    strategies = ["--strategies", "zero-shot,semla,semla-gated"]
    out = ["--out", str(root / "study"), "--no-report"]
    assert main(["evaluate", *inputs, *labels, *bundle, *strategies, *out]) == 0
    return root, inputs, labels, bundle


def test_a_study_gives_filter_and_debounce(world, capsys):
    root, _, _, bundle = world
    assert main(["tune", str(root / "study"), "--out", str(root / "tuned"), *bundle]) == 0
    assert "swap_trigger" in capsys.readouterr().out
    data = yaml.safe_load((root / "tuned" / "params.yaml").read_text())
    parameters = data["/**"]["ros__parameters"]
    updated(Config(), parameters)  # every name and value is one the node takes
    assert {"ema_time_s", "swap_trigger", "swap_release"} <= set(parameters)
    assert "Filter and debounce" in (root / "tuned" / "index.html").read_text()


def test_recordings_give_the_heatmap_and_the_archive(world):
    root, inputs, labels, bundle = world
    out = root / "swept"
    grid = ["--frames", "3", "--top-k", "1,2", "--temperatures", "0.01,0.1", "--archive", "2"]
    distances = ["--distances", "euclidean,cosine,mahalanobis"]
    assert main(["tune", *inputs, *labels, *bundle, "--out", str(out), *grid, *distances]) == 0
    page = (out / "index.html").read_text()
    assert "Temperature and top_k, cosine" in page
    assert "Distances side by side" in page
    assert "was not tried" in page, "mahalanobis has too few images, and says so"
    assert "Batch mode for an archive" in page
    assert "a null adapter at" in page
    assert "no null adapter" in page


def scored(choice, h_mean):
    return ChoiceScore(choice, {"one": h_mean}, h_mean, h_mean)


@pytest.mark.parametrize(("gain", "taken"), [(2.0, 7.5), (0.1, None)])
def test_a_null_adapter_is_taken_where_it_pays(gain, taken):
    now = Choice("euclidean", 1.0, 5)
    sweep = MixSweep((scored(now, 30.0), scored(replace(now, top_k=2), 29.0)), 8, 16)
    nulls = MixSweep(
        (scored(now, 30.0), scored(replace(now, null_distance=7.5), 30 + gain)), 8, 16
    )
    parameters, why = {}, []
    take_retrieval(sweep, nulls, now, parameters, why)
    assert parameters.get("null_distance") == taken
    assert ("a null adapter at 7.5" in why[0]) == (taken is not None)
    assert "3 choices" in why[0] or taken is not None


def test_a_null_adapter_of_the_bundle_is_switched_off_where_it_costs():
    now = Choice("euclidean", 1.0, 5, null_distance=7.5)
    never = scored(replace(now, null_distance=-1.0), 32.0)
    parameters, why = {}, []
    take_retrieval(
        MixSweep((scored(now, 30.0),), 8, 8), MixSweep((never,), 8, 8), now, parameters, why
    )
    assert parameters["null_distance"] == -1.0
    assert "no null adapter" in why[0]


def test_choices_that_do_as_well_leave_what_is_in_force(world):
    """Of two adapters with the own left out one is allowed: all choices give the same mix."""
    root, inputs, labels, _ = world
    few = root / "few"
    shutil.copytree(root / "bundle", few)
    names = sorted(path for path in (few / "library").iterdir() if path.is_dir())
    for path in names[2:]:
        shutil.rmtree(path)
    settings = StudySettings(few, leave_out=names[0].name, changes={"engine": "onnx"})
    tasks = tasks_of(inputs, labels=[text for text in labels if text != "--labels"])
    tuned, _ = tune(TuneRequest((), tasks, root / "few-tuned", settings, frames=2))
    alike = [s.choice for s in tuned.retrieval.scores if s.choice != tuned.current]
    assert len({s.h_mean for s in tuned.retrieval.scores}) == 1, "else this shows nothing"
    assert alike
    assert tuned.retrieval.best().choice == tuned.current
    assert max(c.top_k for c in alike) == 3, "the base takes a place, too"


def test_a_threshold_of_nothing_is_not_the_bundles():
    """A support_low of 0 in params.yaml would stand for the bundle's."""
    found = Threshold(0.05, 1.5, 0.0, 0.5, 0.5, 0.05, 0.1)
    parameters, why = {}, []
    take_thresholds(Thresholds(found, (found,), 10, 5, 10.0), 0.05, parameters, why)
    assert parameters["support_low"] > 0


def test_nulls_are_tried_around_the_nearest_adapter_that_is_not_left_out(world):
    root, inputs, labels, _ = world
    settings = StudySettings(root / "bundle", changes={"engine": "onnx"})
    tasks = tasks_of(inputs, labels=[text for text in labels if text != "--labels"])
    with closing(Session(settings)) as session:
        near = null_distances(session, tasks, "euclidean", frames=2)
    left_out = replace(settings, leave_out=session.names[0])
    with closing(Session(left_out)) as session:
        far = null_distances(session, tasks, "euclidean", frames=2)
    assert list(near) == sorted(near)
    assert sum(far) > sum(near)


def telling(study):
    """The study with masks whose mIoU follows their entropy, in three stretches a domain."""
    rng = np.random.default_rng(2)
    recordings = []
    for number in range(3):
        for recording in study.recordings:
            result = recording.results["semla-gated"]
            signals = rng.uniform(0, 1, result.signals.shape)
            hits = np.rint(1000 * (0.2 + 0.5 * signals[:, 2])).astype(np.int64)
            each = np.stack([hits, np.zeros_like(hits), 1000 - hits], axis=1)
            counts = np.repeat(each[:, :, None], result.counts.shape[2], axis=2)
            results = {"semla-gated": replace(result, signals=signals, counts=counts)}
            name = f"{recording.name}-{number}"
            known = ("OK",) * recording.frames
            smoothed = rng.uniform(0.1, 1.0, recording.frames)
            recordings.append(
                replace(recording, name=name, results=results, levels=known, smoothed=smoothed)
            )
    return replace(study, recordings=tuple(recordings))


def test_the_calibration_of_a_study_goes_into_its_bundle(world, capsys):
    root, _, _, bundle = world
    copy = root / "calibrated"
    shutil.copytree(root / "bundle", copy)
    save_study(telling(load_study(root / "study")), root / "telling")
    arguments = ["tune", str(root / "telling"), "--out", str(root / "t"), *bundle]
    assert main([*arguments, "--write-calibration", str(copy)]) == 0
    said = capsys.readouterr().out
    assert "on held-out domains the expected mIoU errs by" in said
    assert "the plain mean" in said
    stored = open_bundle(copy).manifest.defaults.calibration
    assert stored.frames == 9 * FRAMES
    assert set(stored.domains) == {"one", "two", "three"}
    assert stored.made_by.startswith("semla tune telling")
    assert all(stored.error < error for error in stored.errors.values())


def test_a_promise_that_is_worth_nothing_leaves_the_bundle_alone(world, capsys):
    root, _, _, bundle = world
    copy = root / "untold"
    shutil.copytree(root / "bundle", copy)
    before = (copy / "bundle.yaml").read_bytes()
    arguments = ["tune", str(root / "study"), "--out", str(root / "t"), *bundle]
    assert main([*arguments, "--write-calibration", str(copy)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "not worth publishing" in line
    assert (copy / "bundle.yaml").read_bytes() == before


def test_a_study_of_another_bundle_is_refused(world):
    root, _, _, _ = world
    copy = root / "other"
    shutil.copytree(root / "bundle", copy)
    adapter = next((copy / "library").iterdir())
    shutil.rmtree(adapter)
    with pytest.raises(BundleError, match="evaluate it again"):
        write_calibration(copy, [load_study(root / "study")], made_by="a test")


def test_one_study_is_told_in_words_and_its_gaps_exported(world, capsys):
    root, _, _, bundle = world
    study = load_study(root / "study")
    assert study.frames == 3 * FRAMES
    arguments = ["report", str(root / "study"), "--out", str(root / "report"), *bundle[:2]]
    assert main([*arguments, "--latex"]) == 0
    assert "points h-mean" in capsys.readouterr().out
    assert (root / "report" / "tables.tex").is_file()


def test_several_studies_stand_side_by_side(world):
    root, _, _, _ = world
    shutil.copytree(root / "study", root / "again")
    out = root / "compared"
    assert main(["report", str(root / "study"), str(root / "again"), "--out", str(out)]) == 0
    table = (out / "comparison.csv").read_text()
    assert table.startswith("study,strategy,")
    assert "again,semla-gated" in table
    assert (out / "index.html").is_file()


def test_equal_studies_are_told_apart_or_refused(world, capsys):
    root, _, _, _ = world
    study = str(root / "study")
    assert main(["report", study, f"{study}/results.json", "--out", str(root / "no")]) == 2
    assert "expected distinct studies" in capsys.readouterr().err


def test_nothing_to_tune_from_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="expected a study or a recording"):
        tune(TuneRequest((), (), tmp_path))
    with pytest.raises(EvaluationError, match="distances"):
        TuneRequest((), (), tmp_path, distances=("manhattan",))


def test_rounded_mixes_still_sum_to_one_and_keep_the_heaviest():
    mix = rounded(AdapterMix.from_weights({"a": 0.503, "b": 0.493, "c": 0.004}))
    assert dict(zip(mix.names, mix.weights, strict=True)) == pytest.approx({"a": 0.5, "b": 0.5})
    many = AdapterMix.from_weights({f"n{i:03d}": 1.0 for i in range(200)})
    assert rounded(many).weights == (1.0,)


def test_the_fewest_swaps_win_among_settings_that_follow_well():
    scores = [
        GateScore(0.0, 0.1, 90.0, 0.10),
        GateScore(1.0, 0.3, 20.0, 0.11),
        GateScore(2.0, 0.8, 2.0, 0.40),
    ]
    assert chosen_gate(scores) == scores[1]
