"""Label maps: what the ids or colours of a data set mean, and how it names its files.

A map is data: `config/label_maps/<name>.yaml`, or a file of the user's.

    images: [_leftImg8bit]                # endings of image names that are no part of the frame
    labels: {_gtFine_labelIds: label_ids} # ending of label names -> table; '' for no ending
    tables:
      label_ids:
        ignore: [0, 255]                  # ids that are never scored
        ids: {7: road, 8: sidewalk}       # id -> class name
      colors:
        ignore: [[0, 0, 0]]
        colors: [{rgb: [128, 64, 128], name: road}]

`tables_of: cityscapes` takes the tables of another map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semla_ros.core.errors import EvaluationError
from semla_ros.core.files.structured_text import from_yaml
from semla_ros.core.shipped import shipped_files

IDENTITY = "identity"
MAX_FILE_BYTES = 1_000_000
MAX_ID = 65535
_NOT_MAPS = frozenset({"synonyms"})
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """What the values of one kind of label image mean.

    Attributes:
        ids: Id -> class name; empty for colours.
        colors: RGB -> class name; empty for ids.
        ignored: Ids that are known and not scored.
        ignored_colors: Colours that are known and not scored.
    """

    ids: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[Rgb, str] = field(default_factory=dict)
    ignored: frozenset[int] = frozenset()
    ignored_colors: frozenset[Rgb] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, each once."""
        return tuple(dict.fromkeys((*self.ids.values(), *self.colors.values())))


@dataclass(frozen=True, slots=True)
class LabelMap:
    """One data set's labels.

    Attributes:
        name: How it was asked for.
        tables: Name -> meaning; empty for `identity`, whose ids are the bundle's classes.
        images: Endings of image names.
        labels: Ending of label names -> name of the table; the first that is found is used.
    """

    name: str = IDENTITY
    tables: Mapping[str, LabelTable] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: {"": IDENTITY})

    def table_for(self, *, colors: bool) -> str:
        """Return the table for images of colours, or of ids, whose names say nothing.

        The first of all where none is for this kind.

        Raises:
            EvaluationError: Several are.
        """
        names = tuple(dict.fromkeys(self.labels.values()))
        fits = [n for n in names if n in self.tables and bool(self.tables[n].colors) == colors]
        if len(fits) > 1:
            kind = "colours" if colors else "ids"
            choices = " or ".join(f"--label-map {self.name}:{table}" for table in fits)
            raise EvaluationError(
                f"label map {self.name!r}: expected one table of {kind} for a topic, got "
                f"{fits!r}: give {choices}"
            )
        return (*fits, *names)[0]


def label_maps() -> dict[str, Path]:
    """Return name -> file of the maps that come with the package."""
    files = shipped_files("config/label_maps")
    return {name: path for name, path in files.items() if name not in _NOT_MAPS}


def read_label_map(what: str) -> LabelMap:
    """Return the label map that `what` means.

    Args:
        what: `identity`, a name of `label_maps()`, or a YAML file; `NAME:TABLE` chooses one of
            its tables for every label.

    Raises:
        EvaluationError: No such map, or an unusable one.
    """
    if what == IDENTITY:
        return LabelMap()
    named = label_maps()
    name, _, chosen = what.partition(":") if not Path(what).is_file() else (what, "", "")
    path = named.get(name, Path(name))
    if not path.is_file():
        raise EvaluationError(
            f"expected a label map of {sorted((*named, IDENTITY))!r} or a YAML file, got {what!r}"
        )
    return _narrowed(_map_of(what, path, named), chosen)


def _narrowed(label_map: LabelMap, table: str) -> LabelMap:
    if not table:
        return label_map
    if table not in label_map.tables:
        raise EvaluationError(
            f"label map {label_map.name!r}: expected a table of {tuple(label_map.tables)!r}, "
            f"got {table!r}"
        )
    endings = {ending: t for ending, t in label_map.labels.items() if t == table}
    return LabelMap(
        label_map.name,
        {table: label_map.tables[table]},
        label_map.images,
        {**endings, "": table},
    )


def _map_of(name: str, path: Path, named: Mapping[str, Path]) -> LabelMap:
    data = _read(path)
    where = f"label map {path.name!r}"
    unknown = sorted(map(str, set(data) - {"images", "labels", "tables", "tables_of"}))
    if unknown:
        raise EvaluationError(f"{where}: expected images, labels and tables, got {unknown!r}")
    tables = data.get("tables", {})
    if "tables_of" in data:
        other = str(data["tables_of"])
        if other not in named:
            raise EvaluationError(f"{where}: expected tables_of {sorted(named)!r}, got {other!r}")
        tables = _read(named[other]).get("tables", {})
    try:
        parsed = {str(k): _table(v, f"{where}, table {k!r}") for k, v in tables.items()}
        labels = {str(k): str(v) for k, v in data.get("labels", {}).items()}
        images = tuple(str(v) for v in data.get("images", ()))
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise EvaluationError(
            f"{where} is malformed ({error}): see config/label_maps/*.yaml"
        ) from error
    labels = labels or {"": next(iter(parsed), "")}
    lost = sorted(set(labels.values()) - parsed.keys())
    if not parsed or lost:
        raise EvaluationError(f"{where}: expected a table for each of its labels, lacks {lost!r}")
    return LabelMap(name, parsed, images, labels)


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise EvaluationError(f"{path.name!r} is over {MAX_FILE_BYTES} bytes: no label map")
    try:
        data = from_yaml(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise EvaluationError(f"{path.name!r} is no label map: {reason}") from error
    if not isinstance(data, dict):
        raise EvaluationError(
            f"{path.name!r}: expected a mapping with `tables`, got {type(data).__name__}"
        )
    return data


def _table(data: Mapping[str, Any], where: str) -> LabelTable:
    ids = {int(k): str(v) for k, v in data.get("ids", {}).items()}
    colors = {_rgb(e["rgb"], where): str(e["name"]) for e in data.get("colors", ())}
    ignored = data.get("ignore", ())
    plain_ids = frozenset(v for v in ignored if isinstance(v, int))
    outside = sorted(i for i in {*ids, *plain_ids} if not 0 <= i <= MAX_ID)
    if outside or bool(ids) == bool(colors):
        raise EvaluationError(
            f"{where}: expected either ids of 0..{MAX_ID} or colours, got {len(ids)} ids, "
            f"{len(colors)} colours, outside the range {outside!r}"
        )
    if ids.keys() & plain_ids:
        raise EvaluationError(f"{where}: ids {sorted(ids.keys() & plain_ids)!r} are also ignored")
    return LabelTable(
        ids,
        colors,
        plain_ids,
        frozenset(_rgb(v, where) for v in ignored if not isinstance(v, int)),
    )


def _rgb(value: Any, where: str) -> Rgb:  # noqa: ANN401  any YAML value
    numbers = tuple(value)
    if len(numbers) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in numbers):
        raise EvaluationError(f"{where}: expected rgb as three of 0 to 255, got {value!r}")
    return numbers[0], numbers[1], numbers[2]
