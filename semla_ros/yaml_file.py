"""YAML that people wrote, to plain data; whatever PyYAML raises is told as a ValueError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path, *, max_bytes: int) -> Any:  # noqa: ANN401  any YAML value
    """Return what the file at `path` says, as `parse_yaml` does.

    Raises:
        OSError: It cannot be read.
        ValueError: It is longer than `max_bytes`, or no YAML of plain data.
    """
    with path.open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is over {max_bytes} bytes")
    return parse_yaml(content)


def parse_yaml(content: bytes | str) -> Any:  # noqa: ANN401  any YAML value
    """Return what `content` says; bytes are UTF-8, with or without a byte order mark.

    PyYAML raises more than YAMLError: ValueError of `2001-99-99`, KeyError of `!!bool odd`,
    AttributeError of `!!timestamp odd`, IndexError of `!!int ""`, RecursionError of deep lists.

    Raises:
        ValueError: It is no YAML of plain data; in one line, where and why.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return yaml.safe_load(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
    ) as error:
        kind = "" if isinstance(error, yaml.YAMLError) else f"{type(error).__name__}: "
        raise ValueError(kind + " ".join(str(error).split())) from error
