"""`semla loop train`: from a labelled set to an adapter that is let in, or told why not."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import CaptureError, LibraryError
from semla_ros.core.files.whole_file import write_file
from semla_ros.data.labelling.label_set import (
    IMAGES,
    LABELS,
    LabelImage,
    LabelSet,
    read_label_set,
)
from semla_ros.data.tasks import ReadSettings, Task
from semla_ros.library.library import AdapterLibrary
from semla_ros.loop.approval import let_in
from semla_ros.loop.parts import parts_of
from semla_ros.loop.proof import Thresholds, reasons, require_evidence, silenced, trials
from semla_ros.loop.quarantine import VERDICT, Verdict, alone, place_of, waiting, write_verdict
from semla_ros.loop.trial import adapter_key, key_of, library_key, link, trial_bundle
from semla_ros.pipeline.library_view import bank_of
from semla_ros.prepare.adapters.changes import disk
from semla_ros.prepare.adapters.history import contents
from semla_ros.prepare.training.adapter import AdapterRequest, train_adapter
from semla_ros.prepare.training.ground import DataRequest
from semla_ros.prepare.training.recipe import recipe_to_dict
from semla_ros.prepare.training.run import How, Say, runner_of

_TRAINED = "trained.key"


@dataclass(frozen=True, slots=True)
class LoopRequest:
    """What `semla loop train` was asked for.

    Attributes:
        label_set: Folder of a labelled set.
        bundle: Folder of the bundle.
        name: Of the new domain.
        how: Recipe and hardware.
        others: Domain of the library -> labelled frames of it.
        reading: How those are read.
        thresholds: When it may serve.
        auto: Let it in without asking, if it may.
    """

    label_set: Path
    bundle: Path
    name: str
    how: How = field(default_factory=How)
    others: Mapping[str, Sequence[Task]] = field(default_factory=dict)
    reading: ReadSettings = field(default_factory=ReadSettings)
    thresholds: Thresholds = field(default_factory=Thresholds)
    auto: bool = False


def train_domain(request: LoopRequest, say: Say) -> Verdict:
    """Return what was found of a new adapter, which is in quarantine, or in the library.

    An adapter of an earlier run that was trained from the same is kept, and only judged again.

    Raises:
        SemlaError: Another loop is at this library, labels are missing, or it cannot be trained;
            the library is as it was.
    """
    bundle = open_bundle(request.bundle, verify=False)
    made = read_label_set(request.label_set)
    if made.vocabulary.names != bundle.manifest.vocabulary.names:
        raise CaptureError(
            f"expected labels of the bundle's classes {bundle.manifest.vocabulary.names!r}, got "
            f"a set of {made.vocabulary.names!r}: make the set with this --bundle"
        )
    _require_free(bundle, request.name)
    require_evidence(bundle, request.name, request.others, reading=request.reading)
    learn, judged = parts_of(made)
    if copies := len(made.images) - len({image.sha256 for image in made.images}):
        say(f"left out {copies} of {len(made.images)} images: copies of others")
    with alone(bundle):
        _require_free(bundle, request.name)
        data = place_of(bundle, request.name) / "data"
        with disk(f"prepare {str(data)!r}"):
            if data.exists():
                shutil.rmtree(data)
            tasks = _laid(made, learn, data / "learn"), _laid(made, judged, data / "held_out")
        return _judged(request, bundle, *tasks, say)


def _require_free(bundle: ModelBundle, name: str) -> None:
    """Raise where the library has a domain of that name."""
    if not (bundle.library / name).exists():
        return
    remedy = "choose another --name, or remove it first"
    if name in waiting(bundle):
        remedy = f"`semla loop approve {bundle.root} {name}` finishes, or {remedy}"
    raise LibraryError(f"domain {name!r} is in the library: {remedy}")


def _judged(
    request: LoopRequest, bundle: ModelBundle, learn: Task, judged: Task, say: Say
) -> Verdict:
    name = request.name
    trial = trial_bundle(bundle, name)
    key = library_key(trial, without=name)
    _train(request, bundle, trial, learn, say)
    distance = bundle.manifest.defaults.distance
    hardware = request.how.hardware.resolved()
    with runner_of(trial, request.how, hardware) as runner:
        found = trials(runner, name, (judged,), request.others, reading=request.reading)
        left_out = tuple(n for n in runner.library.generated if n not in request.others)
        before = bank_of(AdapterLibrary.of(bundle), distance=distance).alarm
        quiet = silenced(before, runner.bank.alarm if runner.bank else None)
    why = (*reasons(found, request.thresholds), *quiet)
    verdict = Verdict(name, key, found, why, adapter_key(trial.library, name), left_out)
    write_verdict(bundle, verdict)
    if verdict.passed and request.auto:
        let_in(bundle, name)
    return verdict


def _train(
    request: LoopRequest, bundle: ModelBundle, trial: ModelBundle, learn: Task, say: Say
) -> None:
    """Leave a trained adapter in the trial's library, that of an earlier run where it may be.

    Frames that training holds out to find its best step are some of `learn`.
    """
    name, how = request.name, request.how
    note = place_of(bundle, name) / _TRAINED
    facts = {
        "base": dict(trial.manifest.files),
        "data": contents(learn.path.parent),
        "recipe": recipe_to_dict(how.recipe),
        "precision": how.hardware.resolved().precision,
    }

    def key() -> bytes:
        return key_of([facts, adapter_key(trial.library, name)]).encode()

    with disk(f"use {str(note)!r}"):
        if not how.fresh and note.is_file() and note.read_bytes() == key():
            say(f"{name} was trained before with the same data and recipe: only judged again")
            return
        (note.parent / VERDICT).unlink(missing_ok=True)
    data = DataRequest((learn,))
    train_adapter(AdapterRequest(trial.root, name, data, how, replace=True), say)
    write_file(note, key(), error=LibraryError)


def _laid(made: LabelSet, images: Sequence[LabelImage], out: Path) -> Task:
    """Return `images` with their labels as a recording in the folder `out`."""
    for image in images:
        file = f"{image.name}.png"
        for folder in (IMAGES, LABELS) if made.label(image) is not None else (IMAGES,):
            link(made.root / folder / file, out / folder / file)
    return Task(out / IMAGES, out.name, "", labels=str(out / LABELS))
