"""YAML and JSON of unknown origin to plain values, within bounds; the only place YAML is read.

A few hundred bytes of YAML can stand for gigabytes (aliases of aliases), for hours (numbers in
base 60) or for a stack without end. So the text is looked through before anything is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

MAX_DEPTH = 40
MAX_NODES = 100_000
"""How many values a document may hold, what its aliases stand for counted each time."""
_MAX_NUMBER = 400
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBERS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))
_MERGE = "tag:yaml.org,2002:merge"
_UNFIT = (LookupError, TypeError, AttributeError, OverflowError)


def from_yaml(text: str | bytes) -> Any:  # noqa: ANN401  any YAML value
    """Return the value of a YAML document; of bytes, UTF-8 with or without a byte order mark.

    Raises:
        ValueError: It is malformed, nested deeper than `MAX_DEPTH`, stands for more than
            `MAX_NODES` values, gives a key twice or asks for objects; in one line.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return _value(text)
    except _UNFIT as error:
        raise ValueError(f"not valid YAML: a value does not fit its type ({error})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"not valid YAML: {reason[:500]}") from error


def from_json(text: str | bytes) -> Any:  # noqa: ANN401  any JSON value
    """Return the value of a JSON document; of bytes, UTF-8 with or without a byte order mark.

    Raises:
        ValueError: It is malformed or nested too deep; in one line.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {' '.join(str(error).split())[:500]}") from error


def checked_json(path: Path, check: Callable[[object, str], None], *, max_bytes: int) -> Any:  # noqa: ANN401
    """Return what a JSON file holds, once `check` accepts it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than `max_bytes`, no JSON, or not accepted.
    """
    if path.stat().st_size > max_bytes:
        raise ValueError(f"expected at most {max_bytes} bytes")
    value = from_json(path.read_bytes())
    check(value, "")
    return value


def _value(text: str) -> Any:  # noqa: ANN401
    _check_depth(text)
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _count(root, {}, set())
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Refuse what is nested too deep, event by event: building nodes would recurse."""
    depth = 0
    for events, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or events > 2 * MAX_NODES:
            raise ValueError(
                f"expected at most {MAX_NODES} values nested at most {MAX_DEPTH} deep, got more"
            )


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Return how many values `node` stands for.

    Args:
        node: The node.
        known: Node -> its count, for those seen before.
        above: The nodes that hold this one.
    """
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > _MAX_NUMBER:
            raise ValueError(f"expected numbers of at most {_MAX_NUMBER} characters, got more")
        return 1
    if id(node) in above or len(above) > MAX_DEPTH:
        raise ValueError(f"an alias stands for itself, or aliases are {MAX_DEPTH} deep")
    if id(node) not in known:
        above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            parts = [part for pair in node.value for part in pair]
        else:
            parts = node.value
        total = 1 + sum(_count(part, known, above) for part in parts)
        above.remove(id(node))
        if total > MAX_NODES:
            raise ValueError(f"its aliases stand for more than {MAX_NODES} values: write it out")
        known[id(node)] = total
    return known[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.YAMLError(f"expected plain keys, got a {key.id} in line {_line(key)}")
        if key.tag != _MERGE and (key.tag, key.value) in seen:
            raise ValueError(f"the key {key.value[:80]!r} is given twice, in line {_line(key)}")
        seen.add((key.tag, key.value))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
