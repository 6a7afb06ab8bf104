"""Label files of a folder, found by the name of a frame or by its stamp."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semla_ros.core.errors import EvaluationError
from semla_ros.core.files.folder_walk import files_below
from semla_ros.data.bags.topics import MAX_STAMP_NS
from semla_ros.data.labels.label_map import LabelMap

_UNIT_NS = {16: 1_000, 18: 1, 19: 1}
"""Digits of a whole number that is a stamp -> ns of its unit: µs, or ns."""
_SECONDS = re.compile(r"(\d{9,10})(?:\.\d{1,9}|_\d{6}|_\d{9})")


@dataclass(frozen=True, slots=True)
class LabelFile:
    """One label image and the table of the map that it is for."""

    path: Path
    table: str


class LabelFolder:
    """The label images below one folder, each under the name of its frame.

    The frame of `a/b_gtFine_labelIds.png` is `b` by a map that knows this ending. Of several
    endings of one frame the map's first is taken.
    """

    def __init__(self, root: Path, label_map: LabelMap) -> None:
        """Index `root` and everything below.

        Raises:
            EvaluationError: No label image of the map's layout, or two for one frame.
        """
        self.root = root
        self._map = label_map
        files = sorted(p for p in files_below(root) if p.suffix == ".png")
        self._by_name: dict[str, LabelFile] = {}
        # A file belongs to the longest of the endings it has; the map's first of a frame is taken.
        longest = sorted(label_map.labels, key=len, reverse=True)
        ending_of = {p: next((e for e in longest if p.stem.endswith(e)), None) for p in files}
        for ending, table in label_map.labels.items():
            own: dict[str, LabelFile] = {}
            for path in (p for p in files if ending_of[p] == ending):
                name = frame_name(path.stem.removesuffix(ending), label_map.images)
                if name in own:
                    raise EvaluationError(
                        f"two label images for the frame {name!r}: {str(own[name].path)!r} and "
                        f"{str(path)!r}; evaluate their folders one by one"
                    )
                own[name] = LabelFile(path, table)
            self._by_name = own | self._by_name
        if not self._by_name:
            raise EvaluationError(
                f"folder {str(root)!r} holds no label image for the map {label_map.name!r}: "
                f"expected PNGs whose names end in {[e + '.png' for e in label_map.labels]!r}, "
                f"found {len(files)} PNGs"
            )
        stamps = ((stamp_of(name), file) for name, file in self._by_name.items())
        self._by_stamp = {stamp: file for stamp, file in stamps if stamp is not None}
        self._stamps = sorted(self._by_stamp)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def paths(self) -> Iterable[Path]:
        """The files in use."""
        return (file.path for file in self._by_name.values())

    def by_name(self, name: str) -> LabelFile | None:
        """Return the labels of the frame called `name`, None where there are none."""
        return self._by_name.get(frame_name(name, self._map.images))

    def by_stamp(self, stamp_ns: int, *, tolerance_ns: int) -> LabelFile | None:
        """Return the labels whose name is the nearest stamp within `tolerance_ns`."""
        near = nearest(self._stamps, stamp_ns, tolerance_ns=tolerance_ns)
        return None if near is None else self._by_stamp[near]

    def offset_ns(self, stamp_ns: int) -> int | None:
        """Return how much later than `stamp_ns` the nearest labels are, None without stamps."""
        near = nearest(self._stamps, stamp_ns, tolerance_ns=MAX_STAMP_NS)
        return None if near is None else near - stamp_ns


def without_labels(
    images: Sequence[Path], root: Path, labels: Path, label_map: LabelMap
) -> tuple[Path, ...]:
    """Return the `images` below `root` that are not below `labels`.

    Where `root` lies in `labels` itself, those that are no labels in use.

    Raises:
        EvaluationError: `root` lies in `labels`, where there are none.
    """
    folder = labels.resolve()
    if root.resolve().is_relative_to(folder):
        used = {path.resolve() for path in LabelFolder(labels, label_map).paths}
        return tuple(p for p in images if p.resolve() not in used)
    parents = {path.parent for path in images}
    below = {parent for parent in parents if parent.resolve().is_relative_to(folder)}
    return tuple(p for p in images if p.parent not in below)


def frame_name(name: str, endings: Iterable[str]) -> str:
    """Return `name` (of a file, without its suffix) without the first of `endings` it has."""
    for ending in endings:
        if ending and name.endswith(ending):
            return name.removesuffix(ending)
    return name


def stamp_of(name: str) -> int | None:
    """Return the stamp in ns that a file name stands for, None where it stands for none.

    `1700000000123456789` are ns and `1700000000123456` µs. `1700000000_123456789` and
    `1700000000_123456` are seconds with ns and with µs, `1700000000.5` is a decimal fraction.
    """
    if name.isdecimal() and len(name) in _UNIT_NS:
        stamp_ns = int(name) * _UNIT_NS[len(name)]
    elif seconds := _SECONDS.fullmatch(name):
        fraction = name[seconds.end(1) + 1 :].ljust(9, "0")
        stamp_ns = int(seconds[1]) * 1_000_000_000 + int(fraction)
    else:
        return None
    return stamp_ns if stamp_ns < MAX_STAMP_NS else None


def nearest(stamps: list[int], stamp_ns: int, *, tolerance_ns: int) -> int | None:
    """Return the value of sorted `stamps` nearest to `stamp_ns`, None beyond the tolerance."""
    at = bisect.bisect_left(stamps, stamp_ns)
    around = stamps[max(at - 1, 0) : at + 1]
    best = min(around, key=lambda s: abs(s - stamp_ns), default=None)
    if best is None or abs(best - stamp_ns) > tolerance_ns:
        return None
    return best
