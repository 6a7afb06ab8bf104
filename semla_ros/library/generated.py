"""`<domain>/generated.json`: an adapter was made from words and other adapters, and how.

Nobody has seen an image of its domain: its centroid is a prediction, and it makes nothing known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.checks import mapping, number, one_of, table, text
from semla_ros.core.files.structured_text import from_json
from semla_ros.library.captions import MAX_CAPTION_BYTES
from semla_ros.library.seal import GENERATED_FILE, MAX_DOCUMENT_BYTES, read_seal, read_sealed

WEIGHTED = "weighted"
"""The weighted sum of the changes that the text speaks of; why no other: docs/generating.md."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an adapter was made of.

    Attributes:
        text: The description.
        method: `WEIGHTED`.
        experts: Adapter -> its weight; they sum to 1.
        files: Adapter -> sha256 of its tensors.
        similarity: Cosine of the description to the nearest expert's captions.
        distance: 1 - cosine of the change to that of the nearest adapter of the library.
        nearest: That adapter.
    """

    text: str
    method: str
    experts: Mapping[str, float]
    files: Mapping[str, str]
    similarity: float
    distance: float
    nearest: str


def is_generated(folder: Path) -> bool:
    """Return whether the adapter in `folder` says that it was generated."""
    return (folder / GENERATED_FILE).exists()


def provenance_text(provenance: Provenance) -> str:
    """Return what `generated.json` holds."""
    return json.dumps({"generated": True, **asdict(provenance)}, indent=1) + "\n"


def read_provenance(folder: Path) -> Provenance | None:
    """Return what the adapter in `folder` was made of, None where it was not generated.

    Raises:
        AdapterError: The file is damaged, or not what was sealed.
    """
    if not is_generated(folder):
        return None
    where = f"{folder.name}/{GENERATED_FILE}"
    try:
        content = read_sealed(
            folder / GENERATED_FILE, read_seal(folder), max_bytes=MAX_DOCUMENT_BYTES
        )
        value = from_json(content)
        _CHECK(value, "")
    except (OSError, ValueError) as error:
        raise AdapterError(f"{where}: {error}: generate the adapter again") from error
    return Provenance(**{key: each for key, each in value.items() if key != "generated"})


def _true(value: object, path: str) -> None:
    if value is not True:
        raise ValueError(f"{path}: expected true, got {value!r}")


def _long_text(value: object, path: str) -> None:
    text(value, path, max_bytes=MAX_CAPTION_BYTES)


_CHECK = table(
    {
        "generated": _true,
        "text": _long_text,
        "method": one_of(WEIGHTED),
        "experts": mapping(text, number(0.0, 1.0)),
        "files": mapping(text, text),
        "similarity": number(-1.0, 1.0),
        "distance": number(0.0, 2.0),
        "nearest": text,
    }
)
