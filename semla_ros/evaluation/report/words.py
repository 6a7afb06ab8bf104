"""What the library's domains are called in words (SemLA's Table 4), where somebody has asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semla_ros.core.files.structured_text import from_json
from semla_ros.evaluation.page import section, table
from semla_ros.evaluation.table import Cell

CACHE = "description.json"
MAX_BYTES = 4_000_000
CAPTIONS = 3


def words_section(library: Path) -> str:
    """Return each adapter in words from the cache of `semla library describe`; empty without."""
    rows: list[tuple[Cell, ...]] = []
    for path in sorted(library.glob(f"*/{CACHE}")):
        data = _read(path)
        words = data.get("words", {})
        captions = data.get("captions", [])
        said = [str(c.get("text", "")) for c in captions[:CAPTIONS] if isinstance(c, dict)]
        if words or said:
            named = "; ".join(map(str, words.values())) if isinstance(words, dict) else ""
            rows.append((path.parent.name, named, "; ".join(said)))
    if not rows:
        return ""
    return section(
        "The library in words",
        table(("adapter", "nearest words", "captions of its images"), rows),
        note="Made by semla library describe: the nearest prompt of each group, and what a "
        "captioning model says of sample images (SemLA's Table 4).",
    )


def _read(path: Path) -> dict[str, Any]:
    """Return a cache file; one that cannot be read says nothing."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        data = from_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
