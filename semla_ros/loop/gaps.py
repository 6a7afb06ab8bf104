"""`semla gaps`: what the library lacks, in groups of like frames, ready to be labelled."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import BundleError, CaptureError, ConfigError
from semla_ros.core.types import Float64Array
from semla_ros.data.captures.record import CaptureIdentity
from semla_ros.data.labelling.label_set import Labelling, LabelSet, write_label_set
from semla_ros.data.tasks import tasks_of
from semla_ros.evaluation.analysis.gaps import Gap, grouped
from semla_ros.evaluation.study.run import StudyRequest, run_study
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.study import Study
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.statistics import DomainStatistics
from semla_ros.loop.sources import Sources, gather, parted
from semla_ros.navigator.prompts import read_prompts
from semla_ros.pipeline import default_bundle
from semla_ros.prepare.curation.describe import likenesses

MAX_SET = 2000
"""Frames of one gap that are written to be labelled: nobody labels more of one kind of scene."""
_STUDY = "study"
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
        changes: Parameters that differ from the default, for the recordings.
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
    robots, recordings = parted(request.inputs)
    missing = [text for text in recordings if not Path(text.rpartition("=")[2]).exists()]
    if missing:
        raise ConfigError(f"expected captures or recordings, found no {missing[0]!r}")
    require_new(request.out)
    library = AdapterLibrary.of(bundle)
    centroids = library.centroids

    def distances(embeddings: Float64Array) -> Float64Array:
        if not len(centroids):
            return np.empty((len(embeddings), 0))
        away = [np.linalg.norm(embeddings - centroid, axis=1) for centroid in centroids]
        return np.stack(away, axis=1)

    study = _evaluated(request, recordings) if recordings else None
    identity = CaptureIdentity(navigator.identity, navigator.dim)
    sources = gather(robots, study, identity=identity, distances=distances)
    adapters = library.names if study is None else study.info.adapters
    gaps = grouped(sources.found, adapters, total=sources.frames)
    taken = set(library.names) | set(library.problems)
    named: list[NamedGap] = []
    for gap in gaps:
        each = _named(gap, sources, bundle, request.out, taken=taken)
        taken.add(each.name)
        named.append(each)
    return GapsFound(tuple(named), sources, bundle)


def _evaluated(request: GapsRequest, recordings: list[str]) -> Study:
    """Return what the node would have found in the recordings; nothing is scored."""
    settings = StudySettings(
        bundle=request.bundle,
        strategies=("semla-gated",),
        topic=request.topic,
        changes=request.changes,
    )
    tasks = tasks_of(recordings)
    out = request.out / _STUDY
    return run_study(StudyRequest(tasks, out, settings, request.jobs, request.ray)).study


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
    for frame, rgb in sources.pictures(chosen):
        robot = "-".join(_WORD.findall(frame.recording.lower())) or "robot"
        name = _free(f"{robot[-80:]}-{frame.stamp_ns:019d}", names)
        names.add(name)
        yield Labelling(name, rgb, sources.proposal(frame, classes))


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
    """Check that `out` may be written to: it is new, or holds nothing but an unfinished study.

    Raises:
        CaptureError: It holds something else.
    """
    held = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    if out.exists() and held not in ([], [_STUDY]):
        raise CaptureError(f"expected a new folder, got {str(out)!r} with {held[:3]!r}")
