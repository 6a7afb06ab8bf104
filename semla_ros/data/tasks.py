"""Recordings with their labels and domains as plain data; what opens them for whoever reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path

from semla_ros.core.config import PARAMETERS
from semla_ros.core.errors import EvaluationError
from semla_ros.core.files.image_codec import FULL_BITS
from semla_ros.data.inputs import BagInput, FolderInput, Input, InputOptions, open_input
from semla_ros.data.labels.domains import DomainTable, read_domains
from semla_ros.data.labels.label_folder import without_labels
from semla_ros.data.labels.label_map import LabelMap
from semla_ros.data.labels.source import (
    DEFAULT_TOLERANCE_NS,
    FolderTruth,
    TopicTruth,
    TruthSource,
)
from semla_ros.data.sequence_source import SequenceSource


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How recordings and their labels are read.

    Attributes:
        label_map: What the labels mean.
        topic: Image topic of recordings; None takes the only one.
        fps: Of folders without stamps.
        tolerance_ns: How far labels may lie from their frame.
        max_pixels: Larger images are skipped.
        significant_bits: See `image_codec.decode_raw`.
    """

    label_map: LabelMap = field(default_factory=LabelMap)
    topic: str | None = None
    fps: float = 10.0
    tolerance_ns: int = DEFAULT_TOLERANCE_NS
    max_pixels: int = int(PARAMETERS["max_pixels"].default)
    significant_bits: int = FULL_BITS


@dataclass(frozen=True, slots=True)
class Task:
    """One recording, as plain data.

    Attributes:
        path: The input.
        name: Short and unique among those asked for.
        domain: Of its frames, where `domains` does not say; "" if unknown.
        labels: Folder of label images, or label topic; "" without truth.
        domains: CSV table of domains; None without one.
    """

    path: Path
    name: str
    domain: str
    labels: str = ""
    domains: Path | None = None

    @property
    def label_folder(self) -> Path | None:
        """The folder of labels, None where they are a topic or there are none."""
        return Path(self.labels) if self.labels and Path(self.labels).is_dir() else None

    def open_input(self, settings: ReadSettings) -> Input:
        """Return the frames; images in the folder of labels are none.

        Raises:
            SemlaError: There are none.
        """
        topic = "" if self.label_folder is not None else self.labels
        options = InputOptions(
            topic=settings.topic,
            fps=settings.fps,
            max_pixels=settings.max_pixels,
            significant_bits=settings.significant_bits,
            except_topic=topic,
        )
        found = open_input(self.path, options)
        if self.label_folder is None or not isinstance(found, FolderInput):
            return found
        return _without_labels(found, self.path, self.label_folder, settings.label_map)


def sequence_of(task: Task, settings: ReadSettings, classes: Sequence[str]) -> SequenceSource:
    """Return the frames, truth and domains of a task; labels become `classes`.

    Raises:
        SemlaError: The input or its truth cannot be read.
    """
    domains = DomainTable(task.domain)
    if task.domains is not None:
        file = _stem(task.path)
        if file == task.domain:  # without NAME=; a second `drive` is `drive-2`, and not the first
            file = ""
        domains = read_domains(task.domains, recording=task.name, file=file, default=task.domain)
    frames = task.open_input(settings)
    truth = _truth(task, settings, frames, classes)
    return SequenceSource(str(task.path), task.name, frames, truth, domains)


def _truth(
    task: Task, settings: ReadSettings, frames: Input, classes: Sequence[str]
) -> TruthSource | None:
    folder = task.label_folder
    if not task.labels:
        return None
    bounds = {"max_pixels": settings.max_pixels, "tolerance_ns": settings.tolerance_ns}
    if folder is not None:
        truth = FolderTruth(folder, settings.label_map, classes, **bounds)
        if isinstance(frames, FolderInput):
            truth.require_apart(frames.files)
        return truth
    if not isinstance(frames, BagInput):
        raise EvaluationError(
            f"expected a folder of labels for {str(task.path)!r}, got {task.labels!r}: not there "
            "(topics are for recordings)"
        )
    return TopicTruth(task.path, task.labels, settings.label_map, classes=classes, **bounds)


def _without_labels(
    frames: FolderInput, root: Path, labels: Path, label_map: LabelMap
) -> FolderInput:
    """Return the frames that are no labels, with a note of those left out.

    Raises:
        EvaluationError: None is left.
    """
    files = without_labels(frames.files, root, labels, label_map)
    out = len(frames.files) - len(files)
    if not files:
        raise EvaluationError(
            f"expected images in {str(root)!r}, got {out} of the labels in {str(labels)!r} alone: "
            "give the folder of the images"
        )
    note = f"left out of the frames: {out} of the labels in {str(labels)!r}"
    return replace(frames, files=files, note=note if out else "")


def tasks_of(
    inputs: Sequence[str],
    *,
    labels: Sequence[str] = (),
    domains: Path | None = None,
) -> tuple[Task, ...]:
    """Return one task for each input.

    Args:
        inputs: `PATH`, or `NAME=PATH`: recordings of one name are one domain. By default the
            name is the path's last part.
        labels: `DIR` or `TOPIC` for all, or `NAME=DIR|TOPIC` for the inputs of that name: once for
            all of them, or once for each, in their order.
        domains: CSV table of domains for all.

    Raises:
        EvaluationError: No input, or labels that fit no input, or fewer or more than there are.
    """
    if not inputs:
        raise EvaluationError("expected at least one input, got none")
    paths = [(name, Path(path)) for name, path in map(named, inputs)]
    counts = Counter(name or _stem(path) for name, path in paths)
    given: dict[str, list[str]] = {}
    for name, value in map(named, labels):
        given.setdefault(name, []).append(value)
    common = given.pop("", [""])
    if given.keys() - counts.keys() or len(common) > 1:
        raise EvaluationError(
            f"expected --labels once, or as NAME=… for inputs that there are, got {list(labels)!r}"
        )
    for name, values in given.items():
        if len(values) not in (1, counts[name]):
            raise EvaluationError(
                f"expected --labels {name}=… once, or for each of its inputs ({counts[name]}), "
                f"got {values!r}"
            )
    tasks: list[Task] = []
    for name, path in paths:
        domain = name or _stem(path)
        of_name = given.get(domain, common)
        found = of_name[0 if len(of_name) == 1 else sum(t.domain == domain for t in tasks)]
        taken = {t.name for t in tasks}
        names = chain([domain], (f"{domain}-{number}" for number in count(2)))
        unique = next(n for n in names if n not in taken)
        tasks.append(Task(path, unique, domain, found, domains))
    return tuple(tasks)


def named(text: str) -> tuple[str, str]:
    """Return name and value of `NAME=VALUE`; "" and `text` where there is none, or it exists."""
    name, equals, value = text.partition("=")
    return (name, value) if equals and name and not Path(text).exists() else ("", text)


def _stem(path: Path) -> str:
    name = path.resolve().name
    return path.stem if path.is_file() else name
