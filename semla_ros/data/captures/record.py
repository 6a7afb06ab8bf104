"""What is written down of one captured frame, and of the folder it lies in."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.core.answers import SUPPORT_LEVELS
from semla_ros.core.errors import CaptureError
from semla_ros.core.files.checks import integer, items, mapping, number, one_of, table, text
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.types import AdapterMix, Float32Array

FORMAT = 1
IDENTITY_FILE, LOCK_FILE = "capture.json", ".lock"
LOW, OUT_OF_LIBRARY, DISAGREEMENT = "low", "out_of_library", "disagreement"
REASONS = (LOW, OUT_OF_LIBRARY, DISAGREEMENT)

MAX_RECORD_BYTES = 4_000_000
MAX_DIM = 65_536
_MAX_CLASSES, _MAX_NS = 65_535, 2**63 - 1
_SHA256_DIGITS = 64

_UNIT = number(0.0, 1.0, unknown=True)
_FINITE = number(-1e30, 1e30, unknown=True)


@dataclass(frozen=True, slots=True)
class CaptureIdentity:
    """Which navigator the embeddings of a folder are of.

    Attributes:
        navigator: Its identity, as in a bundle's manifest.
        dim: Length of its embeddings.
    """

    navigator: str
    dim: int

    def content(self) -> bytes:
        """Return the bytes of `capture.json`."""
        return _json({"format": FORMAT, "navigator": self.navigator, "dim": self.dim})


@dataclass(frozen=True, slots=True)
class CaptureRecord:
    """One captured frame without its pictures.

    Attributes:
        stamp_ns: Stamp of the image.
        captured_ns: When it was kept, by the machine's clock, ns since 1970.
        frame_id: The camera's optical frame.
        reason: One of `REASONS`.
        level: Support level of the stream.
        support: SemLA's score of the mix that retrieval picks for this frame alone.
        novelty: Of the stream, NaN where unknown.
        expected_miou: Of the mask, NaN where nothing is promised.
        nearest: The nearest adapter.
        nearest_distance: Its distance, smoothed embedding.
        mix: What made the mask.
        classes: What the ids of the mask mean.
        embedding: (D,) float32, of this image alone, as it was before any filter.
        sha256: File name -> checksum, of image and mask.
    """

    stamp_ns: int
    captured_ns: int
    frame_id: str
    reason: str
    level: str
    support: float
    novelty: float
    expected_miou: float
    nearest: str
    nearest_distance: float
    mix: AdapterMix
    classes: tuple[str, ...]
    embedding: Float32Array
    sha256: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of its files without their endings."""
        return capture_name(self.stamp_ns)

    def content(self) -> bytes:
        """Return the bytes of its JSON file; read back they give the same numbers, bit for bit."""
        return _json(
            {
                "format": FORMAT,
                "stamp_ns": self.stamp_ns,
                "captured_ns": self.captured_ns,
                "frame_id": self.frame_id,
                "reason": self.reason,
                "level": self.level,
                "support": self.support,
                "novelty": self.novelty,
                "expected_miou": self.expected_miou,
                "nearest": self.nearest,
                "nearest_distance": self.nearest_distance,
                "mix": dict(zip(self.mix.names, self.mix.weights, strict=True)),
                "classes": list(self.classes),
                "embedding": [float(value) for value in self.embedding],
                "sha256": dict(self.sha256),
            }
        )


def capture_name(stamp_ns: int) -> str:
    """Return the name of a frame's files: its stamp, so that names sort by time."""
    return f"{stamp_ns:019d}"


def image_file(name: str) -> str:
    """Return the file name of the image of frame `name`."""
    return f"{name}.png"


def mask_file(name: str) -> str:
    """Return the file name of the mask of frame `name`."""
    return f"{name}.mask.png"


def record_file(name: str) -> str:
    """Return the file name of the record of frame `name`."""
    return f"{name}.json"


def sha256_of(content: bytes) -> str:
    """Return the sha256 of `content` in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def identity_from_json(content: bytes) -> CaptureIdentity:
    """Return the identity in a `capture.json`.

    Raises:
        ValueError: It is damaged, or of another format.
    """
    value = _parsed(content)
    _IDENTITY(value, "")
    return CaptureIdentity(value["navigator"], value["dim"])


def record_from_json(content: bytes) -> CaptureRecord:
    """Return the record in the JSON file of a frame.

    Raises:
        ValueError: It is damaged, edited into something impossible, or of another format.
    """
    value = _parsed(content)
    _RECORD(value, "")
    try:
        mix = AdapterMix(tuple(value["mix"]), tuple(map(float, value["mix"].values())))
    except Exception as error:
        raise ValueError(f"mix: {error}") from error
    return CaptureRecord(
        stamp_ns=value["stamp_ns"],
        captured_ns=value["captured_ns"],
        frame_id=value["frame_id"],
        reason=value["reason"],
        level=value["level"],
        support=float(value["support"]),
        novelty=float(value["novelty"]),
        expected_miou=float(value["expected_miou"]),
        nearest=value["nearest"],
        nearest_distance=float(value["nearest_distance"]),
        mix=mix,
        classes=tuple(value["classes"]),
        embedding=np.asarray(value["embedding"], np.float32),
        sha256=dict(value["sha256"]),
    )


def read_bounded(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a plain file of at most `max_bytes`.

    Raises:
        CaptureError: It is missing, no plain file, or too large.
        FileNotFoundError: It is missing.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise CaptureError(f"expected a plain file, got {path.name!r}: remove it")
    size = path.stat().st_size
    if size > max_bytes:
        raise CaptureError(f"{path.name}: expected at most {max_bytes} bytes, got {size}: refused")
    return path.read_bytes()


def _parsed(content: bytes) -> Any:  # noqa: ANN401  JSON
    value = from_json(content)
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT:
        raise ValueError(f"format: expected {FORMAT}, got {found!r}")
    return _known(value)


def _known(value: Any) -> Any:  # noqa: ANN401  JSON has no NaN: null stands for it
    return {key: math.nan if each is None else each for key, each in value.items()}


def _json(value: Mapping[str, object]) -> bytes:
    plain = {
        key: None if isinstance(each, float) and not math.isfinite(each) else each
        for key, each in value.items()
    }
    return (json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _any_text(value: object, path: str) -> None:
    if value != "":
        text(value, path)


def _sha256(value: object, path: str) -> None:
    text(value, path)
    if not isinstance(value, str) or len(value) != _SHA256_DIGITS:
        raise ValueError(f"{path}: expected {_SHA256_DIGITS} digits, got {value!r}")


_IDENTITY = table(
    {"format": integer(FORMAT, FORMAT), "navigator": text, "dim": integer(1, MAX_DIM)}
)
_RECORD = table(
    {
        "format": integer(FORMAT, FORMAT),
        "stamp_ns": integer(0, _MAX_NS),
        "captured_ns": integer(0, _MAX_NS),
        "frame_id": _any_text,
        "reason": one_of(*REASONS),
        "level": one_of(*SUPPORT_LEVELS),
        "support": _FINITE,
        "novelty": _FINITE,
        "expected_miou": _UNIT,
        "nearest": _any_text,
        "nearest_distance": _FINITE,
        "mix": mapping(text, number(0.0, 1.0)),
        "classes": items(text, 1, _MAX_CLASSES),
        "embedding": items(number(-1e30, 1e30), 1, MAX_DIM),
        "sha256": mapping(text, _sha256),
    }
)
