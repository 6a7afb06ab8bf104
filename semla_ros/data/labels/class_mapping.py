"""From label images as a data set stores them to the classes of a bundle, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import EvaluationError
from semla_ros.core.files.label_image import RawLabels
from semla_ros.core.files.structured_text import from_yaml
from semla_ros.core.shipped import shipped_files
from semla_ros.core.types import LabelArray
from semla_ros.data.labels.label_map import IDENTITY, MAX_ID, LabelMap, LabelTable

_UNKNOWN = 1
"""Past the ignored value: an id that the map does not know."""


@dataclass(frozen=True, slots=True)
class ClassMapping:
    """One table of a label map, for one class list of T classes.

    Attributes:
        classes: The class list.
        assigned: Class name of the truth -> place in the class list.
        ignored: Class names of the truth without a counterpart; their pixels are not scored.
        uncovered: Classes of the list that the truth never shows.
    """

    classes: tuple[str, ...]
    assigned: Mapping[str, int]
    ignored: tuple[str, ...]
    uncovered: tuple[str, ...]
    _lut: npt.NDArray[np.uint16]
    _colors: npt.NDArray[np.uint32] | None
    _where: str

    @property
    def ignore(self) -> int:
        """The value of pixels that are not scored: T."""
        return len(self.classes)

    @property
    def wants_colors(self) -> bool:
        """Whether label images must be (H, W, 3)."""
        return self._colors is not None

    def apply(self, raw: RawLabels) -> LabelArray:
        """Return (H, W) class ids of uint8 (uint16 from 255 classes on); T is not scored.

        Raises:
            EvaluationError: Another kind of image than the table is for, or values that it does
                not know; they are listed.
        """
        if (raw.ndim == 3) != self.wants_colors or not np.issubdtype(raw.dtype, np.integer):
            wanted = "colours (H, W, 3)" if self.wants_colors else "ids (H, W)"
            raise EvaluationError(
                f"{self._where}: expected label images of {wanted}, got {raw.shape} of {raw.dtype}"
            )
        indices = self._indices(raw)
        mapped = self._lut[indices]
        unknown = mapped > self.ignore
        if unknown.any():
            raise EvaluationError(
                f"{self._where}: labels out of range: {self._values(raw, unknown)}"
            )
        return mapped.astype(np.uint8) if self.ignore < 255 else mapped

    def _indices(self, raw: RawLabels) -> RawLabels:
        if self._colors is None:
            last = len(self._lut) - 1
            if raw.dtype == np.uint8 and last >= 255:
                return raw
            return np.where((raw < 0) | (raw > last), last, raw)
        packed = _packed(raw)
        places = np.searchsorted(self._colors, packed)
        places[places == len(self._colors)] = 0
        places[self._colors[places] != packed] = len(self._lut) - 1
        return places

    @staticmethod
    def _values(raw: RawLabels, unknown: npt.NDArray[np.bool_]) -> str:
        values = np.unique(raw[unknown].reshape(-1, *raw.shape[2:]), axis=0).tolist()
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        return f"{values[:5]!r}{more}"


def class_mapping(
    label_map: LabelMap, table: str, classes: Sequence[str], *, synonyms: Synonyms | None = None
) -> ClassMapping:
    """Return how `table` of `label_map` becomes `classes`.

    Args:
        label_map: Of the data set.
        table: A name of its tables; any for `identity`.
        classes: The bundle's class names.
        synonyms: Which names are equal; by default the package's.

    Raises:
        EvaluationError: No class of the table is in the class list.
    """
    where = f"label map {label_map.name!r}"
    if label_map.name == IDENTITY:
        return _identity(tuple(classes), where)
    known = label_map.tables[table]
    names = synonyms or Synonyms.shipped()
    found = {name: names.class_of(name, classes) for name in known.names}
    assigned = {name: place for name, place in found.items() if place is not None}
    if not assigned:
        raise EvaluationError(
            f"{where}: none of its classes {known.names!r} is one of {tuple(classes)!r}: "
            "give a map of your own"
        )
    lut, colors = _tables(known, assigned, ignore=len(classes))
    return ClassMapping(
        classes=tuple(classes),
        assigned=assigned,
        ignored=tuple(name for name in known.names if name not in assigned),
        uncovered=tuple(c for i, c in enumerate(classes) if i not in assigned.values()),
        _lut=lut,
        _colors=colors,
        _where=where,
    )


def _identity(classes: tuple[str, ...], where: str) -> ClassMapping:
    """Return the mapping of truth in the bundle's own ids; 255 and 65535 are not scored."""
    lut = np.full(MAX_ID + 2, len(classes) + _UNKNOWN, np.uint16)
    lut[: len(classes)] = np.arange(len(classes))
    lut[[v for v in (255, MAX_ID) if v >= len(classes)]] = len(classes)
    assigned = {name: i for i, name in enumerate(classes)}
    return ClassMapping(classes, assigned, (), (), lut, None, where)


def _tables(
    table: LabelTable, assigned: Mapping[str, int], *, ignore: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint32] | None]:
    """Return value -> class, its last entry for values out of range; and the sorted colours."""
    if table.ids:
        size = max(255, *table.ids, *table.ignored) + 2
        lut = np.full(size, ignore + _UNKNOWN, np.uint16)
        lut[list(table.ignored)] = ignore
        for value, name in table.ids.items():
            lut[value] = assigned.get(name, ignore)
        return lut, None
    meaning = dict.fromkeys(table.ignored_colors, ignore)
    meaning |= {rgb: assigned.get(name, ignore) for rgb, name in table.colors.items()}
    colors = np.array(list(meaning), np.uint8).reshape(-1, 1, 3)
    packed = _packed(colors)[:, 0]
    order = np.argsort(packed)
    values = np.array([*meaning.values()], np.uint16)[order]
    return np.append(values, np.uint16(ignore + _UNKNOWN)), packed[order]


def _packed(rgb: RawLabels) -> npt.NDArray[np.uint32]:
    wide: npt.NDArray[np.uint32] = rgb.astype(np.uint32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2], np.uint32)


@dataclass(frozen=True, slots=True)
class Synonyms:
    """Names that mean one class, and names that count as part of a wider one.

    Attributes:
        equal: Groups of names, plain as `plain` returns them.
        part_of: Plain name -> plain names of wider classes, the first that exists is taken.
    """

    equal: tuple[frozenset[str], ...] = ()
    part_of: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def shipped(cls) -> Synonyms:
        """Return those of `config/label_maps/synonyms.yaml`; none where it is not installed."""
        path = shipped_files("config/label_maps").get("synonyms")
        if path is None:
            return cls()
        try:
            data = from_yaml(path.read_bytes())
            return cls(
                tuple(frozenset(map(plain, group)) for group in data["equal"]),
                tuple((plain(n), tuple(map(plain, w))) for n, w in data["part_of"].items()),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(f"{path.name!r} is damaged at {error}: reinstall") from error

    def class_of(self, name: str, classes: Sequence[str]) -> int | None:
        """Return the place of `name` in `classes`, None where it has no counterpart.

        The same name first, then an equal one, then a wider one. A class of the list may give
        several names separated by commas.
        """
        wanted = plain(name)
        found = self._equal(wanted, classes)
        if found is not None:
            return found
        for wider in dict(self.part_of).get(wanted, ()):
            found = self._equal(wider, classes)
            if found is not None:
                return found
        return None

    def _equal(self, wanted: str, classes: Sequence[str]) -> int | None:
        names = [frozenset(plain(part) for part in each.split(",")) for each in classes]
        for i, own in enumerate(names):
            if wanted in own:
                return i
        group = frozenset[str]().union(*(g for g in self.equal if wanted in g))
        for i, own in enumerate(names):
            if own & group:
                return i
        return None


def plain(name: str) -> str:
    """Return `name` in lower case, `_` and `-` as single spaces."""
    return " ".join(str(name).lower().replace("_", " ").replace("-", " ").split())
