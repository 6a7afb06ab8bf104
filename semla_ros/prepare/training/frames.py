"""Labelled frames at hand: read once by the reader of `semla evaluate`, kept as they are shown.

Recordings and videos can only be read in order, and decoding costs more than a step of a small
network. So frames are resized once, put into one file, and drawn from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semla_ros.core.errors import EvaluationError, TrainingError
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.files.whole_file import to_disk, write_file
from semla_ros.core.types import Float32Array, LabelArray
from semla_ros.data.inputs import InputFrame
from semla_ros.data.labels.source import Truth, check_truth_size
from semla_ros.data.sequence_source import SequenceSource
from semla_ros.data.tasks import ReadSettings, Task, sequence_of
from semla_ros.navigator.encoder import ImageEncoder
from semla_ros.prepare.training.samples import IGNORE, MAX_CLASSES, View
from semla_ros.prepare.training.stored import LabelledFrame, StoredImages

PIXELS, FACTS, EMBEDDINGS = "pixels.bin", "frames.json", "embeddings.npy"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the data hold.

    Attributes:
        folder: Where the pixels are.
        frames: Every labelled frame, in order.
        pixels: (T + 1,) pixels of each class, and of none.
        places: (recording, index) of each embedding.
        names: Of the recordings.
        notes: What was left out, and why.
        sha256: Over pixels and labels as they are trained on.
    """

    folder: Path
    frames: tuple[LabelledFrame, ...]
    pixels: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    sha256: str

    def embeddings(self) -> Float32Array:
        """Return the embedding of every frame, (N, D); D is 0 without an encoder."""
        return np.load(self.folder / EMBEDDINGS, allow_pickle=False)  # type: ignore[no-any-return]

    def some(self, chosen: Sequence[int]) -> StoredImages:
        """Return the frames at places `chosen`."""
        path = self.folder / PIXELS
        pixels = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.empty(0, "u1")
        return StoredImages(pixels, tuple(self.frames[i] for i in chosen))


@dataclass(slots=True)
class _Reading:
    """What one pass gathers."""

    classes: int
    view: View
    encoder: ImageEncoder | None
    domain: str
    frames: list[LabelledFrame] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    rows: list[Float32Array] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)
    written: int = 0
    counts: Any = None


def gather(
    tasks: Sequence[Task],
    settings: ReadSettings,
    classes: Sequence[str],
    *,
    view: View,
    folder: Path,
    domain: str = "",
    encoder: ImageEncoder | None = None,
    title: str = "",
) -> Gathered:
    """Return the labelled frames of `tasks`, read now, or before into the same `folder`.

    Args:
        tasks: The recordings.
        settings: How they are read.
        classes: What labels become; at most 255.
        view: What the network will be shown.
        folder: Where the frames are kept; made where missing.
        domain: Of frames that a table gives a domain, take those of this one.
        encoder: Embeds every frame, labelled or not; None: none.
        title: Beside the progress bar; "" for none.

    Raises:
        TrainingError: Nothing with labels, labels of another size or out of range, a table of
            domains without the recording, a full disk.
        SemlaError: An input cannot be read.
    """
    if len(classes) > MAX_CLASSES:
        raise TrainingError(f"expected at most {MAX_CLASSES} classes, got {len(classes)}")
    if (known := _known(folder)) is not None:
        return known
    run = _Reading(len(classes), view, encoder, domain)
    run.counts = np.zeros(len(classes) + 1, np.int64)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / PIXELS).open("wb") as pixels:
            for number, task in enumerate(tasks):
                for content in _read(run, number, task, settings, classes, title):
                    pixels.write(content)
        rows = np.stack(run.rows) if run.rows else np.zeros((len(run.places), 0), np.float32)
        np.save(folder / EMBEDDINGS, rows, allow_pickle=False)
        for name in (PIXELS, EMBEDDINGS):  # before the facts say that they are there
            to_disk(folder / name)
    except OSError as error:
        raise TrainingError(
            f"cannot keep the frames in {str(folder)!r}: {error}: make room, then run again"
        ) from error
    _require_labels(run, tasks)
    gathered = Gathered(
        folder,
        tuple(run.frames),
        tuple(int(v) for v in run.counts),
        tuple(run.places),
        tuple(task.name for task in tasks),
        tuple(run.notes),
        run.digest.hexdigest(),
    )
    facts = {k: v for k, v in asdict(gathered).items() if k != "folder"}
    write_file(folder / FACTS, json.dumps(facts).encode(), error=TrainingError)
    return gathered


def _known(folder: Path) -> Gathered | None:
    """Return what was kept; None where anything is missing or cut short."""
    try:
        facts = from_json((folder / FACTS).read_bytes())
        frames = tuple(LabelledFrame(**each) for each in facts.pop("frames"))
        places = tuple((int(r), int(i)) for r, i in facts.pop("places"))
        pixels = tuple(int(v) for v in facts["pixels"])
        names, notes = tuple(facts["names"]), tuple(facts["notes"])
        rows = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        if (folder / PIXELS).stat().st_size != frames[-1].end or len(rows) != len(places):
            return None
        return Gathered(folder, frames, pixels, places, names, notes, str(facts["sha256"]))
    except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _read(
    run: _Reading,
    number: int,
    task: Task,
    settings: ReadSettings,
    classes: Sequence[str],
    title: str,
) -> Iterator[bytes]:
    """Yield the pixels and labels of a recording's frames."""
    source = sequence_of(task, settings, classes)
    if source.truth is None:
        raise TrainingError(
            f"{task.name}: expected labels to train on, got none: give --labels DIR or TOPIC"
        )
    if run.domain and task.domains is not None and not source.domains.known:
        raise TrainingError(
            f"{task.name}: expected lines for it in {task.domains.name!r}, got none: its column "
            "recording says the NAME= of --data, or what the file is called"
        )
    blocks = source.blocks(on_note=lambda note: run.notes.setdefault(f"{task.name}: {note}"))
    total = source.frames.count or None
    with tqdm(
        total=total, desc=title or None, disable=None if title else True, leave=False
    ) as bar:
        for block in blocks:
            for read, truth in block:
                yield from _taken(run, number, source, read, truth)
                bar.update()
    _note_truth(run, source)


def _taken(
    run: _Reading, number: int, source: SequenceSource, read: InputFrame, truth: Truth
) -> Iterator[bytes]:
    frame = read.frame
    if frame is None:
        run.notes.setdefault(f"{source.name}: frame {read.index} left out: {read.reason}")
        return
    given = source.domain_of(read)
    if run.domain and source.domains.known and given != run.domain:
        return
    run.places.append((number, read.index))
    if run.encoder is not None:
        run.rows.append(run.encoder.encode(frame.rgb))
    labels = _usable(run, source, frame.rgb.shape[:2], truth)
    if labels is None:
        return
    as_bytes = np.where(labels >= run.classes, IGNORE, labels).astype(np.uint8)
    rgb, kept = run.view.fit(frame.rgb, as_bytes)
    run.counts += np.bincount(np.minimum(kept.ravel(), run.classes), minlength=run.classes + 1)[
        : run.classes + 1
    ]
    height, width = kept.shape
    run.frames.append(LabelledFrame(number, read.index, height, width, run.written))
    content = np.ascontiguousarray(rgb).tobytes() + np.ascontiguousarray(kept).tobytes()
    run.digest.update(content)
    run.written += len(content)
    yield content


def _usable(
    run: _Reading, source: SequenceSource, size: tuple[int, ...], truth: Truth
) -> LabelArray | None:
    """Return the labels of a frame; None where it has none.

    Raises:
        TrainingError: None has fitted so far: the wrong labels, or the wrong map.
    """
    problem, labels = truth.problem, truth.labels
    if labels is not None:
        try:
            check_truth_size(labels, (size[0], size[1]))
        except EvaluationError as error:
            problem, labels = str(error), None
    if not problem:
        return labels
    if not run.frames:
        raise TrainingError(f"{source.name}: {problem}: give the labels of these frames")
    run.problems.append(problem)
    return None


def _note_truth(run: _Reading, source: SequenceSource) -> None:
    if run.problems:
        shown = "; ".join(run.problems[:_SHOWN])
        run.notes.setdefault(
            f"{source.name}: {len(run.problems)} frames with unusable labels: {shown}"
        )
        run.problems.clear()
    if source.truth is None:
        return
    if gaps := source.truth.gaps():
        run.notes.setdefault(f"{source.name}: {gaps}")
    for mapping in source.truth.mappings():
        if mapping.ignored:
            run.notes.setdefault(
                f"classes of the labels without a counterpart, ignored: "
                f"{', '.join(mapping.ignored)}"
            )


def _require_labels(run: _Reading, tasks: Sequence[Task]) -> None:
    """Raise unless there are labelled frames."""
    if not run.frames:
        why = next(iter(run.notes), f"none of {len(run.places)} frames has any")
        raise TrainingError(
            f"expected labelled frames in {[t.name for t in tasks]!r}, got none: {why}"
        )
