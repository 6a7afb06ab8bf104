"""Under which licence an adapter says it comes."""

from __future__ import annotations

from pathlib import Path

from semla_ros.core.files.structured_text import from_json, from_yaml
from semla_ros.library.adapter_config import MAX_CONFIG_BYTES
from semla_ros.library.seal import CONFIG_FILE, DOCUMENTS, GENERATED_FILE, MAX_DOCUMENT_BYTES

_KEYS = ("license", "licence")
_README = "README.md"
_FILES = tuple(n for n in DOCUMENTS if n not in (_README, "NOTICE", GENERATED_FILE))
_MAX_LENGTH = 80


def stated_licence(folder: Path) -> str | None:
    """Return what the adapter in `folder` states, None where it states nothing.

    Looked for in `adapter_config.json`, in the front matter of `README.md` (as model hubs have
    it), then in a licence file, whose first line is taken.
    """
    config = _text(folder / CONFIG_FILE, limit=MAX_CONFIG_BYTES)
    found = _from_json(config) or _from_front_matter(
        _text(folder / _README, limit=MAX_DOCUMENT_BYTES)
    )
    for name in _FILES:
        found = found or _first_line(_text(folder / name, limit=MAX_DOCUMENT_BYTES))
    return found[:_MAX_LENGTH] if found else None


def _text(path: Path, *, limit: int) -> str:
    try:
        if not path.is_file() or path.stat().st_size > limit:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _from_json(text: str) -> str | None:
    try:
        return _named(from_json(text)) if text else None
    except ValueError:
        return None


def _from_front_matter(text: str) -> str | None:
    parts = text.split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return None
    try:
        return _named(from_yaml(parts[1]))
    except ValueError:
        return None


def _named(data: object) -> str | None:
    if not isinstance(data, dict):
        return None
    values = (data.get(key) for key in _KEYS)
    return next((v.strip() for v in values if isinstance(v, str) and v.strip()), None)


def _first_line(text: str) -> str | None:
    return next((line.strip(" #\t") for line in text.splitlines() if line.strip(" #\t")), None)
