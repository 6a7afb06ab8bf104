"""Records of files hold what they declare."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from semla_ros.evaluation.typed_record import typed


@dataclass
class Record:
    count: int = 1
    share: float = 0.5
    name: str = "a"
    done: bool = True
    names: tuple[str, ...] = ()
    more: Mapping[str, float] = field(default_factory=dict)
    maybe: float | None = None


@pytest.mark.parametrize(
    "values", [{}, {"share": 1, "maybe": 2}, {"names": ("x",), "more": {"a": 1.0}, "maybe": 0.5}]
)
def test_what_is_declared_passes(values):
    record = Record(**values)
    assert typed(record) is record


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1.5}, "'count': expected int, got float"),
        ({"count": True}, "'count': expected int, got bool"),
        ({"share": "1"}, "'share': expected float or int, got str"),
        ({"name": None}, "'name': expected str, got NoneType"),
        ({"done": 1}, "'done': expected bool, got int"),
        ({"names": ["x"]}, "'names': expected tuple, got list"),
        ({"more": []}, "'more': expected Mapping, got list"),
        ({"maybe": True}, "'maybe': expected float or int or NoneType, got bool"),
    ],
)
def test_what_is_not_is_named(values, message):
    with pytest.raises(TypeError, match=message):
        typed(Record(**values))
