"""Which class of a bundle a class of the truth counts as, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semla_ros.errors import EvaluationError
from semla_ros.shipped import shipped_files
from semla_ros.structured_text import from_yaml


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
