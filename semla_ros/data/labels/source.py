"""The truth of a frame, from a folder or a topic; none is none, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from semla_ros.core.errors import EvaluationError, FrameError
from semla_ros.core.files.label_image import decode_labels
from semla_ros.core.files.label_image import read_labels as read_label_file
from semla_ros.core.types import LabelArray
from semla_ros.data.bags.labels import StampedLabels, read_labels
from semla_ros.data.labels.class_mapping import ClassMapping, class_mapping
from semla_ros.data.labels.label_folder import LabelFile, LabelFolder, frame_name, stamp_of
from semla_ros.data.labels.label_map import LabelMap
from semla_ros.data.labels.matches import Matches

DEFAULT_TOLERANCE_NS = 5_000_000
_SAME_ASPECT = 0.01
_SLACK_NS = 5_000_000_000
"""How far the label topic may run behind or ahead of the camera in the recording."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth of one frame.

    Attributes:
        labels: (H, W) class ids, T where not scored; None without truth.
        problem: Why there is none although there should be; empty otherwise.
    """

    labels: LabelArray | None
    problem: str = ""


class TruthSource(Protocol):
    """Knows the truth of frames."""

    def truth(self, stamp_ns: int, name: str) -> Truth:
        """Return the truth of the frame with this stamp and name."""
        ...

    def mappings(self) -> Sequence[ClassMapping]:
        """Return the mappings used so far, for what they leave out."""
        ...

    def gaps(self) -> str:
        """Return why frames asked for so far are without truth; empty: nothing to say."""
        ...


class _Labels:
    """What both kinds of truth know: how labels become classes, and which frames have any."""

    def __init__(
        self, label_map: LabelMap, classes: Sequence[str], *, max_pixels: int, tolerance_ns: int
    ) -> None:
        self._map = label_map
        self._classes = tuple(classes)
        self._known: dict[str, ClassMapping] = {}
        self._max_pixels = max_pixels
        self._matches = Matches(tolerance_ns)

    def mappings(self) -> Sequence[ClassMapping]:
        """Return the mappings used so far."""
        return tuple(self._known.values())

    def _mapping(self, table: str) -> ClassMapping:
        """Return the mapping of a table, made when it is first needed."""
        if table not in self._known:
            self._known[table] = class_mapping(self._map, table, self._classes)
        return self._known[table]


class FolderTruth(_Labels):
    """Truth in a folder of PNGs, by the frame's name, else by its stamp."""

    def __init__(
        self,
        root: Path,
        label_map: LabelMap,
        classes: Sequence[str],
        *,
        max_pixels: int,
        tolerance_ns: int = DEFAULT_TOLERANCE_NS,
    ) -> None:
        """Index the folder.

        Raises:
            EvaluationError: It holds no labels of this map's layout.
        """
        super().__init__(label_map, classes, max_pixels=max_pixels, tolerance_ns=tolerance_ns)
        self._folder = LabelFolder(root, label_map)

    def truth(self, stamp_ns: int, name: str) -> Truth:
        """Return the truth of the frame with this stamp and name."""
        found = self._label_of(name, stamp_ns)
        if found is None:
            frame = repr(name) if name else f"the one stamped {stamp_ns}"
            self._matches.miss(frame, self._folder.offset_ns(stamp_ns))
            return Truth(None)
        self._matches.hit()
        mapping = self._mapping(found.table)
        return _guarded(
            lambda: mapping.apply(read_label_file(found.path, max_pixels=self._max_pixels)),
            found.path.name,
        )

    def require_apart(self, images: Iterable[Path]) -> None:
        """Refuse two images of one name that would take one label.

        Raises:
            EvaluationError: There are; both are named.
        """
        seen: dict[str, Path] = {}
        for image in images:
            name, stamp_ns = frame_name(image.stem, self._map.images), stamp_of(image.stem)
            first = seen.setdefault(name, image)
            label = None if first is image else self._label_of(name, stamp_ns)
            if label is not None:
                raise EvaluationError(
                    f"expected one image for the label {label.path.name!r}, got {str(first)!r} "
                    f"and {str(image)!r}: give each camera's folder as an input of its own, or "
                    "keep one of the two"
                )

    def _label_of(self, name: str, stamp_ns: int | None) -> LabelFile | None:
        found = self._folder.by_name(name) if name else None
        if found is not None or stamp_ns is None:
            return found
        return self._folder.by_stamp(stamp_ns, tolerance_ns=self._matches.tolerance_ns)

    def gaps(self) -> str:
        """Return why frames asked for so far are without truth."""
        return self._matches.gaps(repr(next(iter(self._folder.paths)).name))


class TopicTruth(_Labels):
    """Truth on a topic of the recording, by stamp; frames must be asked for in order."""

    def __init__(
        self,
        recording: Path,
        topic: str,
        label_map: LabelMap,
        *,
        classes: Sequence[str],
        max_pixels: int,
        tolerance_ns: int = DEFAULT_TOLERANCE_NS,
    ) -> None:
        """Open nothing yet."""
        super().__init__(label_map, classes, max_pixels=max_pixels, tolerance_ns=tolerance_ns)
        self._messages: Iterator[StampedLabels] | None = read_labels(
            recording, topic, max_pixels=max_pixels
        )
        self._pending: dict[int, StampedLabels] = {}
        self._newest_ns: int | None = None
        self._topic = topic

    def truth(self, stamp_ns: int, name: str) -> Truth:
        """Return the truth of the frame with this stamp.

        Raises:
            BagError: The recording has no such topic; at the first call.
        """
        self._advance(stamp_ns)
        near = min(self._pending, key=lambda s: abs(s - stamp_ns), default=None)
        if near is None or abs(near - stamp_ns) > self._matches.tolerance_ns:
            offset_ns = None if near is None else near - stamp_ns
            self._matches.miss(f"the one stamped {stamp_ns}", offset_ns)
            return Truth(None)
        self._matches.hit()
        message = self._pending[near]
        if message.error:
            return Truth(None, message.error)
        return _guarded(lambda: self._labels(message), f"labels at {near} ns")

    def gaps(self) -> str:
        """Return why frames asked for so far are without truth."""
        newest = "none" if self._newest_ns is None else f"the ones stamped {self._newest_ns}"
        return self._matches.gaps(f"{newest} of {self._topic}")

    def _labels(self, message: StampedLabels) -> LabelArray:
        raw = message.labels
        if raw is None:
            raw = decode_labels(message.png, max_pixels=self._max_pixels)
        return self._mapping(self._map.table_for(colors=raw.ndim == 3)).apply(raw)

    def _advance(self, stamp_ns: int) -> None:
        """Read until the labels of `stamp_ns` must have come; forget what is long past."""
        while self._messages is not None and stamp_ns not in self._pending:
            if self._newest_ns is not None and self._newest_ns > stamp_ns + _SLACK_NS:
                break
            message = next(self._messages, None)
            if message is None:
                self._messages = None
                break
            self._newest_ns = max(message.stamp_ns, self._newest_ns or message.stamp_ns)
            self._pending[message.stamp_ns] = message
        old = [s for s in self._pending if s < stamp_ns - _SLACK_NS]
        for each in old:
            del self._pending[each]


def _guarded(read: Callable[[], LabelArray], what: str) -> Truth:
    try:
        return Truth(read())
    except (EvaluationError, FrameError) as error:
        return Truth(None, f"{what}: {error}")


def check_truth_size(truth: LabelArray, size: tuple[int, int]) -> None:
    """Check that truth shows what the image shows, at whatever resolution.

    Args:
        truth: (h, w).
        size: (H, W) of the image.

    Raises:
        EvaluationError: Another aspect: a crop, or the truth of another image.
    """
    height, width = truth.shape[:2]
    stretch = (height / size[0]) / (width / size[1])
    if abs(stretch - 1.0) > _SAME_ASPECT:
        raise EvaluationError(
            f"truth of {width} x {height} does not fit an image of {size[1]} x {size[0]}: "
            "expected the same aspect"
        )
