"""`semla gaps`: what the library lacks, in groups of like frames, ready to be labelled."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import BundleError, CaptureError
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.data.captures.record import CaptureIdentity
from semla_ros.data.labelling.label_set import Labelling, LabelSet, write_label_set
from semla_ros.data.tasks import Task
from semla_ros.engine.postprocess import restore
from semla_ros.evaluation.analysis.gaps import Gap, grouped
from semla_ros.evaluation.study.run import StudyRequest, run_study
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.study import Study
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.statistics import DomainStatistics
from semla_ros.loop.sources import Sources, gather, parted
from semla_ros.navigator.distance import DISTANCES
from semla_ros.navigator.prompts import read_prompts
from semla_ros.pipeline import default_bundle
from semla_ros.pipeline.assembly import open_library
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.prepare.curation.describe import likenesses

MAX_SET = 2000
"""Frames of one gap that are written to be labelled: nobody labels more of one kind of scene."""
_STUDY, _STAGING = "study", ".staging-"
_WORD = re.compile(r"[a-z0-9]+")
_FILLERS = frozenset({"a", "an", "the", "in", "on", "of", "at", "by", "with", "and", "street"})


@dataclass(frozen=True, slots=True)
class GapsRequest:
    """What `semla gaps` was asked for.

    Attributes:
        inputs: Folders of captures, recordings.
        out: Folder for the page and the sets.
        bundle: The bundle that the robots drive with; None: the demo bundle.
        topic: Image topic of the recordings, None for the only one.
        changes: Parameters that differ from the default.
        jobs: Processes for the recordings.
        ray: Address of a Ray cluster for them, "" without one.
    """

    inputs: tuple[str, ...]
    out: Path
    bundle: Path | None = None
    topic: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    jobs: int = 1
    ray: str = ""


@dataclass(frozen=True, slots=True)
class NamedGap:
    """A group of like frames that the library hardly covers.

    Attributes:
        gap: The frames.
        name: Proposed for the domain; free in the library.
        words: Group of prompts -> the nearest one, the nearest of all first; empty without a
            text side.
        robots: Which of the robots and recordings saw it.
        first_ns, last_ns: Stamps of its first and last frame.
        label_set: Its frames, to be labelled.
    """

    gap: Gap
    name: str
    words: Mapping[str, str]
    robots: tuple[str, ...]
    first_ns: int
    last_ns: int
    label_set: LabelSet


@dataclass(frozen=True, slots=True)
class GapsFound:
    """All gaps, the largest first, and what they were found in."""

    gaps: tuple[NamedGap, ...]
    sources: Sources
    bundle: ModelBundle


def find_gaps(request: GapsRequest) -> GapsFound:
    """Group the frames without support and write each group as a set to be labelled.

    Raises:
        SemlaError: Nothing can be read, captures are of another navigator, the bundle has no
            navigator, or `out` holds gaps already.
    """
    bundle = open_bundle(request.bundle or default_bundle(), verify=False)
    navigator = bundle.manifest.navigator
    if navigator is None:
        raise BundleError(f"bundle {bundle.manifest.name!r} has no navigator: nothing to group by")
    settings = StudySettings(
        bundle=request.bundle,
        strategies=("semla-gated",),
        topic=request.topic,
        changes=request.changes,
    )
    config = settings.config()
    robots, recordings = parted(request.inputs)
    require_new(request.out)
    study = _evaluated(request, settings, recordings) if recordings else None
    library = open_library(bundle, config)
    if study is not None and study.info.adapters != library.names:
        raise BundleError(
            f"expected the library {list(study.info.adapters)!r} that the recordings were "
            f"evaluated with, got {list(library.names)!r}: it has changed; run the command again"
        )
    sources = gather(
        robots,
        study,
        identity=CaptureIdentity(navigator.identity, navigator.dim),
        distances=_distances(library, LiveSettings.of(config, bundle.manifest.defaults).distance),
    )
    gaps = grouped(sources.found, library.names, total=sources.frames)
    return GapsFound(_written(gaps, sources, bundle, request.out), sources, bundle)


def _distances(library: AdapterLibrary, distance: str) -> Callable[[Float32Array], Float64Array]:
    """Return what measures an embedding (D,) to the adapters, (K,), as for recordings."""
    if not library.names:
        return lambda _: np.empty(0)
    bank, measure = bank_of(library, distance=distance), DISTANCES[distance]
    return lambda embedding: measure(embedding, bank)


def _evaluated(request: GapsRequest, settings: StudySettings, tasks: tuple[Task, ...]) -> Study:
    """Return what the node would have found in the recordings; nothing is scored."""
    out = request.out / _STUDY
    return run_study(StudyRequest(tasks, out, settings, request.jobs, request.ray)).study


def _written(
    gaps: Sequence[Gap], sources: Sources, bundle: ModelBundle, out: Path
) -> tuple[NamedGap, ...]:
    """Write the sets of all gaps into `out`, all of them or none; return the gaps by name."""
    taken = {path.name for path in bundle.library.iterdir()} | {_STUDY}
    out.mkdir(parents=True, exist_ok=True)
    named: list[NamedGap] = []
    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=out) as aside:
        for gap in gaps:
            named.append(_named(gap, sources, bundle, Path(aside), taken=taken))
            taken.add(named[-1].name)
        for each in named:
            each.label_set.root.rename(out / each.name)
    return tuple(
        replace(each, label_set=replace(each.label_set, root=out / each.name)) for each in named
    )


def _named(
    gap: Gap, sources: Sources, bundle: ModelBundle, out: Path, *, taken: Collection[str]
) -> NamedGap:
    words = _words(gap, sources, bundle)
    name = _free(domain_name(words, number=gap.number), taken)
    classes = bundle.manifest.vocabulary.names
    stamps = [frame.stamp_ns for frame in gap.frames]
    return NamedGap(
        gap=gap,
        name=name,
        words=words,
        robots=tuple(sorted({frame.recording for frame in gap.frames})),
        first_ns=min(stamps),
        last_ns=max(stamps),
        label_set=write_label_set(out / name, classes, _labellings(gap, sources, classes)),
    )


def _labellings(gap: Gap, sources: Sources, classes: tuple[str, ...]) -> Iterator[Labelling]:
    places = np.linspace(0, len(gap.frames) - 1, min(len(gap.frames), MAX_SET)).round().astype(int)
    chosen = [gap.frames[place] for place in places.tolist()]
    names: set[str] = set()
    robots: dict[str, str] = {}
    for frame, rgb in sources.pictures(chosen):
        if frame.recording not in robots:
            robots[frame.recording] = _free(file_name(frame.recording), robots.values())
        name = _free(f"{robots[frame.recording]}-{frame.stamp_ns:019d}", names)
        names.add(name)
        mask = sources.proposal(frame, classes)
        yield Labelling(name, rgb, None if mask is None else restore(mask, rgb.shape[:2]))


def file_name(robot: str) -> str:
    """Return what the files of a robot or recording may begin with."""
    return "-".join(_WORD.findall(robot.lower()))[-80:].lstrip("-") or "robot"


def domain_name(words: Mapping[str, str], *, number: int) -> str:
    """Return a name for a domain: the words that matter of its nearest prompt, or its number."""
    nearest = next(iter(words.values()), "")
    chosen = [word for word in _WORD.findall(nearest.lower()) if word not in _FILLERS]
    return "-".join(chosen[:4]) or f"gap-{number}"


def _words(gap: Gap, sources: Sources, bundle: ModelBundle) -> dict[str, str]:
    """Return group -> nearest prompt of the middle of a gap; empty without a text side."""
    if not bundle.navigator_prompts.is_file():
        return {}
    prompts = read_prompts(bundle.navigator_prompts)
    inside = set(gap.frames)
    rows = [each.embedding for each in sources.found if each.frame in inside]
    middle = DomainStatistics(np.mean(np.stack(rows).astype(np.float64), axis=0), count=len(rows))
    words: dict[str, str] = {}
    for each in likenesses(middle, prompts):
        words.setdefault(each.group, each.prompt)
    return words


def _free(name: str, taken: Collection[str]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def require_new(out: Path) -> None:
    """Check that `out` may be written to: it is new, or holds what an ended run has not finished.

    Raises:
        CaptureError: It holds something else.
    """
    held = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    held = [name for name in held if name != _STUDY and not name.startswith(_STAGING)]
    if held or (out.exists() and not out.is_dir()):
        raise CaptureError(
            f"expected a new folder, got {str(out)!r} with {held[:3]!r}: give another --out"
        )
