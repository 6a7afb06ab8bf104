"""`semla loop train`: from a labelled set to an adapter that is let in, or told why not."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import CaptureError, LibraryError
from semla_ros.core.files.lock import locked
from semla_ros.data.labelling.label_set import (
    IMAGES,
    LABELS,
    LabelImage,
    LabelSet,
    read_label_set,
)
from semla_ros.data.tasks import ReadSettings, Task
from semla_ros.library.library import AdapterLibrary
from semla_ros.loop.proof import Thresholds, reasons, silenced, trials
from semla_ros.loop.quarantine import (
    FOLDER,
    Verdict,
    library_key,
    link,
    place_of,
    release,
    trial_bundle,
    write_verdict,
)
from semla_ros.pipeline.library_view import bank_of
from semla_ros.prepare.training.adapter import AdapterRequest, train_adapter
from semla_ros.prepare.training.ground import DataRequest
from semla_ros.prepare.training.run import How, Say, runner_of

_HELD_OUT = 0.25
_LEAST = 8
"""Labelled images from which on something can be trained and held out."""
_STAMP_DIGITS = 20


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
    if (bundle.library / request.name).exists():
        raise LibraryError(
            f"domain {request.name!r} is in the library: choose another --name, or remove it first"
        )
    quarantine = bundle.library / FOLDER
    quarantine.mkdir(exist_ok=True)
    what = f"the loop of the library {str(bundle.library)!r}"
    with locked(quarantine / ".lock", error=LibraryError, what=what):
        return _trained(request, bundle, made, say)


def _trained(request: LoopRequest, bundle: ModelBundle, made: LabelSet, say: Say) -> Verdict:
    name = request.name
    key = library_key(bundle.library)
    learn, judged = _parts(made, place_of(bundle, name) / "data")
    trial = trial_bundle(bundle, name)
    data = DataRequest((learn,), (judged,), ReadSettings())
    before = AdapterLibrary.of(trial)
    train_adapter(AdapterRequest(trial.root, name, data, request.how), say)
    hardware = request.how.hardware.resolved()
    with runner_of(trial, request.how, hardware) as runner:
        found = trials(runner, name, (judged,), request.others, reading=request.reading)
        distance = bundle.manifest.defaults.distance
        now = runner.bank.alarm if runner.bank else None
        quiet = silenced(bank_of(before, distance=distance).alarm, now)
    verdict = Verdict(name, key, found, (*reasons(found, request.thresholds), *quiet))
    write_verdict(bundle, verdict)
    if verdict.passed and request.auto:
        release(bundle, name)
    return verdict


def _parts(made: LabelSet, out: Path) -> tuple[Task, Task]:
    """Return the labelled images as two recordings: to learn from, and held out.

    Of every robot the last quarter is held out: neighbours in time resemble each other. What comes
    before counts for the domain's statistics, labelled or not.

    Raises:
        CaptureError: Too few are labelled.
    """
    labelled = [image for image in made.images if made.label(image) is not None]
    if len(labelled) < _LEAST:
        raise CaptureError(
            f"expected at least {_LEAST} labelled images in {str(made.root)!r}, got "
            f"{len(labelled)} of {len(made.images)}: semla labels import"
        )
    robots: dict[str, list[LabelImage]] = {}
    for image in labelled:
        robots.setdefault(image.name[:-_STAMP_DIGITS], []).append(image)
    first_judged: dict[str, str] = {}
    judged: list[LabelImage] = []
    for robot, images in robots.items():
        cut = len(images) - max(1, round(len(images) * _HELD_OUT)) if len(images) > 1 else 1
        judged += images[cut:]
        first_judged[robot] = images[cut].name if cut < len(images) else "~"
    learn = [i for i in made.images if i.name < first_judged.get(i.name[:-_STAMP_DIGITS], "~")]
    if out.exists():
        shutil.rmtree(out)
    return _part(made, learn, out / "learn"), _part(made, judged, out / "held_out")


def _part(made: LabelSet, images: Sequence[LabelImage], out: Path) -> Task:
    for image in images:
        for folder in (IMAGES, LABELS):
            file = f"{image.name}.png"
            if (made.root / folder / file).is_file():
                link(made.root / folder / file, out / folder / file)
    return Task(out / IMAGES, out.name, "", labels=str(out / LABELS))
