"""Mixes as people write them: `none`, `uniform`, `oracle:fog`, `fog=0.7,rain=0.3`."""

from __future__ import annotations

from collections.abc import Sequence

from semla_ros.core.errors import LibraryError
from semla_ros.core.types import BASE, AdapterMix

NONE, UNIFORM, ORACLE = "none", "uniform", "oracle:"


def mix_of(text: str, names: Sequence[str]) -> AdapterMix:
    """Return the mix that `text` describes.

    Args:
        text: `none`, `oracle:NAME`, `uniform` or `name=w,…`; `base` may take part.
        names: The library's adapters.

    Raises:
        LibraryError: An unknown adapter, or weights that are none.
    """
    if text == NONE:
        return AdapterMix.base_only()
    if text == UNIFORM:
        weights = dict.fromkeys(names, 1.0)
    elif text.startswith(ORACLE):
        weights = {text.removeprefix(ORACLE): 1.0}
    else:
        weights = _explicit(text)
    unknown = sorted(set(weights) - {BASE, *names})
    if unknown or not weights:
        raise LibraryError(f"expected adapters of {tuple(names)!r}, got {unknown!r} in {text!r}")
    return AdapterMix.from_weights(weights)


def _explicit(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            equals = ""
        if not equals or not name or name in weights:
            raise LibraryError(
                "expected a mix as auto, none, uniform, oracle:NAME or name=weight,… with each "
                f"name once, got {text!r}"
            )
        weights[name] = weight
    return weights
