"""Documents that parse and mean nonsense: real ones with some of their values exchanged."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

_TEXTS = st.sampled_from(
    (
        "",
        " ",
        "\n",
        "a" * 3000,
        "../../etc",
        "\x00",
        "\ud7ff",
        "é",
        "{}",
        "{0}",
        "<b>",
        "$x$",
        "1e9",
    )
)
_NUMBERS = st.sampled_from(
    (0, 1, -1, 255, 256, 2**31, 2**63, -(2**63), 10**40, 0.5, -0.0, 1e308, 1e-320)
) | st.sampled_from((float("nan"), float("inf"), float("-inf")))
_PLAIN = st.none() | st.booleans() | _NUMBERS | _TEXTS
ODD = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=2),
    max_leaves=5,
)


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [above]
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        found += _places(inner, (*above, key))
    return found


@st.composite
def edited(draw: st.DrawFn, documents: list[Any]) -> Any:
    """Return one of `documents` with one to three of its values exchanged, removed or moved."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)[1:]
        if not places:
            break
        *above, key = draw(st.sampled_from(places))
        holder = document
        for step in above:
            holder = holder[step]
        change = draw(st.sampled_from(("value", "value", "remove", "repeat", "text")))
        if change == "remove":
            del holder[key]
        elif change == "repeat" and isinstance(holder, list):
            holder.extend(holder[:3] * draw(st.sampled_from((1, 1, 50))))
        elif change == "text":
            holder[key] = str(holder[key])
        else:
            holder[key] = draw(ODD)
    return document
