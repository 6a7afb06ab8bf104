"""A labelled set becomes an adapter in quarantine; only what pays and harms nobody is let in."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'semla-ros[train]'")

from fakes import TINY_CLASSES, tiny_bundle

from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.core.errors import CaptureError, LibraryError
from semla_ros.core.files.lock import locked
from semla_ros.core.novelty import NoveltyAlarm
from semla_ros.data.labelling.label_set import Labelling, write_label_set
from semla_ros.library.library import AdapterLibrary
from semla_ros.loop.proof import Thresholds, reasons, silenced
from semla_ros.loop.quarantine import (
    DomainTrial,
    Verdict,
    place_of,
    read_verdict,
    release,
    verdict_table,
    waiting,
    write_verdict,
)
from semla_ros.loop.train import LoopRequest, train_domain
from semla_ros.prepare.adapters.history import history, roll_back
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.run import How

COLOURS = np.array([[90, 90, 90], [200, 30, 30], [120, 170, 240], [20, 120, 20]], np.uint8)
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture
def bundle(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "bundle")
    return open_bundle(tmp_path / "bundle", verify=False)


@pytest.fixture
def labelled(tmp_path):
    """A set of twelve images with labels: road below, sky above, a car at changing places."""
    masks = []
    for i in range(12):
        mask = np.full((24, 40), 2, np.uint8)
        mask[12:] = 0
        mask[10:16, 2 * i : 2 * i + 8] = 1
        masks.append(mask)
    items = [Labelling(f"anna-{i:019d}", COLOURS[m], None) for i, m in enumerate(masks)]
    found = write_label_set(tmp_path / "dusk", TINY_CLASSES, items)
    for image, mask in zip(found.images, masks, strict=True):
        found.write_label(image, mask)
    return found


@pytest.fixture
def request_of(bundle, labelled):
    def make(**changes):
        how = How("test", RECIPE, Hardware(CPU), threads=1)
        base = LoopRequest(labelled.root, bundle.root, "dusk", how)
        return replace(base, **changes)

    return make


def content(root):
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not any(x.startswith(".") for x in p.relative_to(root).parts)
    }


def unheard(_line):
    pass


def test_from_labels_to_the_library_and_back(bundle, request_of):
    before = content(bundle.library)
    verdict = train_domain(request_of(thresholds=ANYTHING), unheard)
    assert verdict.trials[0].domain == "dusk"
    assert {t.domain for t in verdict.trials[1:]} == {"fog", "night", "rain"}
    assert verdict.trials[0].frames == 3
    assert 0 <= verdict.trials[0].before <= 1
    # The tiny bundle's domains have neither frames nor samples: nobody can say that they are safe.
    assert all("cannot be judged" in why for why in verdict.reasons)
    assert content(bundle.library) == before, "nothing serves that was not approved"
    assert read_verdict(bundle, "dusk") == verdict
    assert waiting(bundle) == ("dusk",)
    with pytest.raises(LibraryError, match="stays in quarantine: fog cannot be judged"):
        release(bundle, "dusk")
    write_verdict(bundle, replace(verdict, reasons=()))
    release(bundle, "dusk")
    library = AdapterLibrary.of(bundle)
    assert "dusk" in library.names
    assert "dusk" not in library.unsealed
    assert not place_of(bundle, "dusk").exists()
    assert [s.why for s in history(bundle.library)] == ["found as it was", "let in dusk"]
    roll_back(bundle.library, 1)
    assert content(bundle.library) == before


def test_other_domains_are_held_against_their_labelled_frames(bundle, request_of, labelled):
    from semla_ros.data.tasks import tasks_of

    images, labels = labelled.root / "images", str(labelled.root / "labels")
    others = {d: tasks_of([f"{d}={images}"], labels=[labels]) for d in ("fog", "night", "rain")}
    verdict = train_domain(request_of(others=others, thresholds=ANYTHING, auto=True), unheard)
    assert verdict.passed
    assert all(t.frames == 12 for t in verdict.trials[1:])
    assert "dusk" in AdapterLibrary.of(bundle).names, "--auto lets it in"


def test_another_library_than_it_was_held_against(bundle, request_of):
    verdict = train_domain(request_of(thresholds=ANYTHING), unheard)
    write_verdict(bundle, replace(verdict, reasons=()))
    (bundle.library / "fog" / "README.md").write_text("another fog")
    with pytest.raises(LibraryError, match="held against another library"):
        release(bundle, "dusk")


def test_two_loops_on_one_library_are_refused(bundle, request_of):
    folder = bundle.library / ".quarantine"
    folder.mkdir()
    with (
        locked(folder / ".lock", error=LibraryError, what="x"),
        pytest.raises(LibraryError, match=r"the loop of the library .* is in use"),
    ):
        train_domain(request_of(), unheard)


def test_what_cannot_be_trained_on_is_told(bundle, request_of, labelled, tmp_path):
    with pytest.raises(LibraryError, match="domain 'fog' is in the library"):
        train_domain(request_of(name="fog"), unheard)
    for path in sorted((labelled.root / "labels").iterdir())[7:]:
        path.unlink()
    with pytest.raises(CaptureError, match=r"at least 8 labelled images .* got 7 of 12"):
        train_domain(request_of(), unheard)
    other = write_label_set(tmp_path / "other", ("a", "b"), [])
    with pytest.raises(CaptureError, match="expected labels of the bundle's classes"):
        train_domain(request_of(label_set=other.root), unheard)
    next(labelled.image_path(i) for i in labelled.images).unlink()
    with pytest.raises(CaptureError, match="is gone"):
        train_domain(request_of(), unheard)


OWN = DomainTrial("dusk", 20, 0.40, 0.50, 0.9)


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        ((OWN, DomainTrial("fog", 20, 0.5, 0.498, 0.5)), ()),
        ((OWN, DomainTrial("fog", 0, share=0.01)), ()),
        ((replace(OWN, after=0.405),), ("its own domain gains +0.5 points",)),
        ((replace(OWN, after=float("nan")),), ("its own domain gains",)),
        ((OWN, DomainTrial("fog", 20, 0.5, 0.45)), ("fog loses 5.0 points of mIoU on 20 frames",)),
        ((OWN, DomainTrial("fog", 0, share=0.3)), ("take 30.0 % of the weight in fog",)),
        ((OWN, DomainTrial("fog", 0)), ("fog cannot be judged",)),
    ],
)
def test_it_must_pay_and_harm_nobody(trials, why):
    found = reasons(trials, Thresholds())
    assert len(found) == len(why)
    for text, part in zip(found, why, strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("before", "after", "silent"),
    [
        (NoveltyAlarm(9.0, ""), NoveltyAlarm(0.0, "needs 50 images"), True),
        (NoveltyAlarm(9.0, ""), NoveltyAlarm(8.0, ""), False),
        (NoveltyAlarm(0.0, "needs 50 images"), NoveltyAlarm(0.0, "needs 50 images"), False),
        (None, NoveltyAlarm(0.0, "needs 50 images"), False),
    ],
)
def test_the_alarm_of_the_library_must_stay(before, after, silent):
    assert bool(silenced(before, after)) == silent


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 1}'])
def test_a_damaged_verdict_lets_nothing_in(bundle, text):
    write_verdict(bundle, Verdict("dusk", "k", (OWN,), ()))
    (place_of(bundle, "dusk") / "verdict.json").write_text(text)
    with pytest.raises(LibraryError, match=r"verdict\.json' is damaged"):
        release(bundle, "dusk")


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
    assert value["trials"][0]["frames"] == 3


def test_a_verdict_that_rests_on_embeddings_says_so():
    trials = (OWN, DomainTrial("fog", 20, 0.5, 0.5), DomainTrial("rain", 0, share=0.01))
    assert "kept embeddings tell of rain:" in verdict_table(Verdict("dusk", "key", trials, ()))[-1]
    seen = Verdict("dusk", "key", trials[:2], ())
    assert verdict_table(seen)[-1] == "dusk pays and harms nobody"
