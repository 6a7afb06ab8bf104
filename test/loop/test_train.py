"""A labelled set becomes an adapter in quarantine; only what pays and harms nobody is let in."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'semla-ros[train]'")

from fakes import TINY_DOMAINS

from semla_ros.bundle import write_manifest
from semla_ros.cli import main
from semla_ros.core.errors import (
    BundleError,
    CaptureError,
    ConfigError,
    EvaluationError,
    LibraryError,
    TrainingError,
)
from semla_ros.core.files.png import png_content
from semla_ros.data.labelling.label_set import write_label_set
from semla_ros.data.tasks import tasks_of
from semla_ros.library.library import AdapterLibrary
from semla_ros.loop import train
from semla_ros.loop.approval import approve
from semla_ros.loop.proof import Thresholds
from semla_ros.loop.quarantine import (
    alone,
    place_of,
    read_verdict,
    verdict_table,
    waiting,
)
from semla_ros.loop.train import LoopRequest, train_domain
from semla_ros.prepare.adapters.seals import write_seal
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.run import How

ANYTHING = Thresholds(min_gain=-1.0, max_harm=1.0, max_share=1.0)
RECIPE = Recipe(
    rank=4,
    steps=4,
    batch=4,
    warmup=1,
    learning_rate=5e-3,
    clip_norm=1.0,
    crop=0,
    evaluate_every=2,
    seed=0,
)


@pytest.fixture
def request_of(bundle, labelled):
    def make(**changes):
        how = How("test", RECIPE, Hardware(CPU), threads=1)
        base = LoopRequest(labelled.root, bundle.root, "dusk", how)
        return replace(base, **changes)

    return make


@pytest.fixture
def others(labelled):
    """Labelled frames of every domain of the library."""
    images, labels = labelled.root / "images", str(labelled.root / "labels")
    return {d: tasks_of([f"{d}={images}"], labels=[labels]) for d in TINY_DOMAINS}


@pytest.fixture
def trainings(monkeypatch):
    """What `train_adapter` was asked for, in order."""
    asked, real = [], train.train_adapter

    def seen(request, say):
        asked.append(request)
        return real(request, say)

    monkeypatch.setattr(train, "train_adapter", seen)
    return asked


def unheard(_line):
    pass


def test_from_labels_to_quarantine(bundle, request_of, trainings):
    verdict = train_domain(request_of(thresholds=ANYTHING), unheard)
    assert verdict.trials[0].domain == "dusk"
    assert {t.domain for t in verdict.trials[1:]} == {"fog", "night", "rain"}
    assert verdict.trials[0].frames == 8
    assert 0 <= verdict.trials[0].before <= 1
    # The tiny bundle's domains have neither frames nor samples: nobody can say that they are safe.
    assert all("cannot be judged" in why for why in verdict.reasons)
    assert AdapterLibrary.of(bundle).names == TINY_DOMAINS, "nothing serves that was not approved"
    assert read_verdict(bundle, "dusk") == verdict
    assert waiting(bundle) == ("dusk",)
    with pytest.raises(LibraryError, match="stays in quarantine: fog cannot be judged"):
        approve(bundle, "dusk")
    (asked,) = trainings
    (learn,) = asked.data.tasks
    assert not asked.data.held_out, "what judges chooses no checkpoint"
    assert len([*learn.path.iterdir()]) == 23, "neither the last quarter nor the gap before it"


def test_other_domains_are_held_against_their_labelled_frames(bundle, request_of, others):
    verdict = train_domain(request_of(others=others, thresholds=ANYTHING, auto=True), unheard)
    assert verdict.passed
    assert all(t.frames == 32 for t in verdict.trials[1:])
    assert "dusk" in AdapterLibrary.of(bundle).names, "--auto lets it in"


def test_an_adapter_of_the_same_data_and_recipe_is_only_judged_again(
    bundle, request_of, others, trainings
):
    heard = []
    first = train_domain(request_of(thresholds=ANYTHING), heard.append)
    (bundle.library / "fog" / "README.md").write_text("another fog")
    again = train_domain(request_of(others=others, thresholds=ANYTHING), heard.append)
    assert len(trainings) == 1
    assert again.adapter == first.adapter
    assert again.passed
    assert "dusk was trained before with the same data and recipe: only judged again" in heard
    approve(bundle, "dusk")


def test_an_adapter_of_anything_else_is_trained_again(bundle, request_of, labelled, monkeypatch):
    def again(_request, _say):
        raise TrainingError("trained again")

    train_domain(request_of(), unheard)
    monkeypatch.setattr(train, "train_adapter", again)
    how = request_of().how
    for other in (replace(how, recipe=replace(RECIPE, seed=1)), replace(how, fresh=True)):
        with pytest.raises(TrainingError, match="trained again"):
            train_domain(request_of(how=other), unheard)
    before = labelled.label(labelled.images[0])
    labelled.write_label(labelled.images[0], labelled.label(labelled.images[1]))
    with pytest.raises(TrainingError, match="trained again"):
        train_domain(request_of(), unheard)
    labelled.write_label(labelled.images[0], before)
    train_domain(request_of(), unheard)
    adapter = place_of(bundle, "dusk") / "bundle" / "library" / "dusk"
    (adapter / "README.md").write_text("damaged")
    with pytest.raises(TrainingError, match="trained again"):
        train_domain(request_of(), unheard)


def test_a_verdict_is_gone_before_another_adapter_is_trained(
    bundle, judged, request_of, monkeypatch
):
    def killed(_request, _say):
        assert not waiting(bundle)
        raise TrainingError("killed")

    monkeypatch.setattr(train, "train_adapter", killed)
    with pytest.raises(TrainingError, match="killed"):
        train_domain(request_of(), unheard)
    assert (place_of(bundle, "dusk") / "bundle" / "library" / "dusk").exists(), "until a new one"
    with pytest.raises(LibraryError, match=r"expected an adapter in quarantine of \[\]"):
        approve(bundle, "dusk")


@pytest.mark.parametrize(
    ("inputs", "labels", "why"),
    [
        (["fog={images}", "fog={images}-typo"], "{labels}", "found nothing: check the path"),
        (["fog={images}"], "{few}", "expected at least 8 frames of 'fog' .* got 7: check --lab"),
        (["fog={images}"], "{none}", "expected at least 8 frames of 'fog' .* got 0: check --lab"),
        (["dusk={images}"], "{labels}", "expected domains other than 'dusk' with --others"),
    ],
)
def test_frames_of_others_are_looked_at_before_anything_is_trained(
    bundle, judged, request_of, labelled, tmp_path, inputs, labels, why
):
    places = {"images": labelled.root / "images", "labels": labelled.root / "labels"}
    for name, count in (("few", 7), ("none", 1)):
        places[name] = tmp_path / name
        places[name].mkdir()
        for image in labelled.images[:count]:
            file = f"{image.name}.png" if name == "few" else "of_another_image.png"
            shutil.copyfile(places["labels"] / f"{image.name}.png", places[name] / file)
    tasks = tasks_of([i.format(**places) for i in inputs], labels=[labels.format(**places)])
    with pytest.raises((ConfigError, EvaluationError), match=why):
        train_domain(request_of(others={tasks[0].domain: tasks}), unheard)
    assert read_verdict(bundle, "dusk") == judged, "nothing was touched"


def test_a_bundle_that_retrieves_nothing_is_refused_before_training(bundle, request_of):
    write_manifest(bundle.root, replace(bundle.manifest, navigator=None))
    with pytest.raises(BundleError, match="expected a bundle with a navigator"):
        train_domain(request_of(), unheard)


def test_generated_adapters_are_left_out_and_named(bundle, request_of, others):
    (bundle.library / "fog" / "generated.json").write_text("{}")
    write_seal(bundle.library / "fog")
    rest = {name: tasks for name, tasks in others.items() if name != "fog"}
    verdict = train_domain(request_of(others=rest, thresholds=ANYTHING), unheard)
    assert verdict.passed
    assert [t.domain for t in verdict.trials] == ["dusk", "night", "rain"]
    assert read_verdict(bundle, "dusk").left_out == ("fog",)
    assert "left out, as nobody has seen their domains: fog" in verdict_table(verdict)


def test_two_loops_on_one_library_are_refused(bundle, request_of):
    with (
        alone(bundle),
        pytest.raises(LibraryError, match=r"the loop of the library .* is in use"),
    ):
        train_domain(request_of(), unheard)


def test_what_cannot_be_trained_on_is_told(bundle, request_of, labelled, tmp_path):
    with pytest.raises(LibraryError, match="domain 'fog' is in the library"):
        train_domain(request_of(name="fog"), unheard)
    for path in sorted((labelled.root / "labels").iterdir())[20:]:
        path.unlink()
    with pytest.raises(CaptureError, match=r"at least 8 labelled images .* got 5"):
        train_domain(request_of(), unheard)
    other = write_label_set(tmp_path / "other", ("a", "b"), [])
    with pytest.raises(CaptureError, match="expected labels of the bundle's classes"):
        train_domain(request_of(label_set=other.root), unheard)
    next(labelled.image_path(i) for i in labelled.images).unlink()
    with pytest.raises(CaptureError, match="is gone"):
        train_domain(request_of(), unheard)


@pytest.mark.parametrize("option", ["--min-gain", "--max-harm", "--max-share"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_limits_are_numbers(bundle, labelled, capsys, option, value):
    words = ["loop", "train", str(labelled.root), "--bundle", str(bundle.root), option, value]
    assert main(words) == 2
    assert "expected finite numbers for --min-gain" in capsys.readouterr().err


def test_a_blank_label_is_not_laid_out(labelled, tmp_path):
    first, second = labelled.images[:2]
    blank = np.full((24, 40), labelled.unlabeled, np.uint8)
    (labelled.root / "labels" / f"{first.name}.png").write_bytes(png_content(blank))
    train._laid(labelled, (first, second), tmp_path / "out")
    assert [p.stem for p in (tmp_path / "out" / "labels").iterdir()] == [second.name]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


def test_words_that_would_do_nothing_are_refused(bundle, labelled, capsys):
    words = ["loop", "train", str(labelled.root), "--bundle", str(bundle.root)]
    assert main([*words, "--labels", "fog=/truth"]) == 2
    assert "expected --others with --labels ['fog=/truth']" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--dry-run"])


def test_commands(bundle, labelled, capsys):
    small = ["--set", "steps=2", "--set", "warmup=1", "--set", "batch=2", "--set", "crop=0"]
    words = ["loop", "train", str(labelled.root), "--bundle", str(bundle.root), *small]
    assert main([*words, "--set", "evaluate_every=1", "--device", "cpu", "--threads", "1"]) == 1
    said = capsys.readouterr().out
    assert "domain" in said
    assert "dusk stays in quarantine: fog cannot be judged" in said
    assert main(["loop", "list", str(bundle.root)]) == 0
    assert "dusk stays in quarantine" in capsys.readouterr().out
    assert main(["loop", "approve", str(bundle.root), "dusk"]) == 2
    assert main(["loop", "approve", str(bundle.root), "nobody"]) == 2
    assert "expected an adapter in quarantine of ['dusk']" in capsys.readouterr().err
    assert main(["library", "history", str(bundle.root)]) == 0
    value = json.loads((place_of(bundle, "dusk") / "verdict.json").read_text())
    assert value["trials"][0]["frames"] == 8
