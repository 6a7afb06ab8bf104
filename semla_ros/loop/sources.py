"""Frames without support, wherever they come from: captures of nodes, and recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from semla_ros.core.errors import CaptureError, ConfigError
from semla_ros.core.types import Float32Array, Float64Array, LabelArray, UInt8Array
from semla_ros.data.captures.folder import Capture, is_capture_folder, read_captures
from semla_ros.data.captures.record import CaptureIdentity
from semla_ros.data.tasks import Task, tasks_of
from semla_ros.evaluation.analysis.gaps import GapFrame, Uncovered, uncovered_frames
from semla_ros.evaluation.report.gap_files import gap_pictures
from semla_ros.evaluation.study.study import Study

_T = TypeVar("_T")
Key = tuple[str, int]
"""Robot or recording, whose names `parted` keeps apart, and place of a frame in it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """All frames without support that were found, from all robots.

    Attributes:
        found: The frames, with what groups them.
        frames: How many frames there were, those with support included; captures count as they
            are.
        captures: Robot and place -> its capture.
        study: What recordings were evaluated to, None without recordings.
        problems: What could not be used, in sentences; grows while pictures are read.
    """

    found: tuple[Uncovered, ...]
    frames: int
    captures: Mapping[Key, Capture]
    study: Study | None = None
    problems: list[str] = field(default_factory=list)

    def pictures(self, frames: Sequence[GapFrame]) -> Iterator[tuple[GapFrame, UInt8Array]]:
        """Yield the images of `frames`; captures that cannot be read become problems.

        Raises:
            EvaluationError: A recording is no longer where it was.
        """
        recorded = []
        for frame in frames:
            capture = self.captures.get((frame.recording, frame.index))
            if capture is None:
                recorded.append(frame)
                continue
            rgb = self._read(capture.image)
            if rgb is not None:
                yield frame, rgb
        if self.study is not None and recorded:
            yield from gap_pictures(self.study, recorded)

    def proposal(self, frame: GapFrame, classes: tuple[str, ...]) -> LabelArray | None:
        """Return the mask that was served for a frame; None where it was of other classes.

        One that cannot be read becomes a problem. It may be of another size than the image: a
        node with `output_size: model` publishes, and keeps, masks as its network makes them.
        """
        capture = self.captures.get((frame.recording, frame.index))
        if capture is None or capture.record.classes != classes:
            return None
        return self._read(capture.mask)

    def _read(self, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except CaptureError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None


def robots_of(folders: Sequence[Path], *, taken: Collection[str] = ()) -> dict[str, Path]:
    """Return name -> folder of captures: the folder's own name, with its parent's where equal.

    Args:
        folders: Of captures.
        taken: Names that something else has, each once.

    Raises:
        ConfigError: A folder is given twice.
    """
    plain = [path.resolve() for path in folders]
    twice = [str(path) for path, count in Counter(plain).items() if count > 1]
    if twice:
        raise ConfigError(f"expected every folder once, got {twice[0]!r} twice")
    counts = Counter([*taken, *(path.name for path in plain)])
    names = [p.name if counts[p.name] == 1 else f"{p.parent.name}/{p.name}" for p in plain]
    if len({*taken, *names}) < len(taken) + len(names):
        names = [str(path) for path in plain]
    return dict(zip(names, folders, strict=True))


def parted(inputs: Sequence[str]) -> tuple[dict[str, Path], tuple[Task, ...]]:
    """Return folders of captures by robot, and recordings; no two of them all have one name.

    Raises:
        ConfigError: A folder is given twice, or as NAME=PATH, or something is not there.
    """
    folders = [Path(text) for text in inputs if is_capture_folder(Path(text))]
    others = [text for text in inputs if not is_capture_folder(Path(text))]
    tasks = tasks_of(others) if others else ()
    missing = [str(task.path) for task in tasks if not task.path.exists()]
    if missing:
        raise ConfigError(f"expected captures or recordings, found no {missing[0]!r}")
    renamed = [str(task.path) for task in tasks if is_capture_folder(task.path)]
    if renamed:
        raise ConfigError(
            f"expected captures as PATH alone, got NAME={renamed[0]}: leave NAME= out"
        )
    return robots_of(folders, taken=[task.name for task in tasks]), tasks


def gather(
    robots: Mapping[str, Path],
    study: Study | None,
    *,
    identity: CaptureIdentity,
    distances: Callable[[Float32Array], Float64Array],
) -> Sources:
    """Return the frames without support of captures and of evaluated recordings.

    Args:
        robots: Name -> folder of captures.
        study: Of the recordings, None without any.
        identity: Of the navigator; embeddings of others mean nothing beside its own.
        distances: Embedding (D,) -> distances (K,) to the library's adapters.

    Raises:
        CaptureError: A folder is of another navigator, or none.
    """
    found: list[Uncovered] = []
    captures: dict[Key, Capture] = {}
    problems: list[str] = []
    for name, folder in robots.items():
        read = read_captures(folder)
        if read.identity != identity:
            raise CaptureError(
                f"expected captures of navigator {identity.navigator!r}, got {str(folder)!r} of "
                f"{read.identity.navigator!r}: give --bundle the one that the robot drove with"
            )
        problems += [f"{name}: {why}" for why in read.problems.values()]
        for index, capture in enumerate(read.captures):
            captures[name, index] = capture
            embedding = capture.record.embedding
            found.append(Uncovered(_frame(name, index, capture), embedding, distances(embedding)))
    recorded = () if study is None else uncovered_frames(study)
    frames = len(found) + (study.frames if study is not None else 0)
    return Sources((*found, *recorded), frames, captures, study, problems)


def _frame(robot: str, index: int, capture: Capture) -> GapFrame:
    record = capture.record
    return GapFrame(
        recording=robot,
        row=index,
        index=index,
        stamp_ns=record.stamp_ns,
        support=record.support,
        level=record.level,
        domain=robot,
    )
