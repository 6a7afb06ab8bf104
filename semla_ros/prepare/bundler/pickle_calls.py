"""The calls that a pickled state dict may ask for, and what holds for their arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ITEM_BYTES = {
    **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "ComplexFloat": 8, "ComplexDouble": 16},
    **{"Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1},
}
_ALLOWED = re.compile(
    r"collections\.(OrderedDict|Counter)|numpy\.(dtype|ndarray)|_codecs\.encode"
    r"|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)"
    r"|torch\._utils\._rebuild_(tensor_v2|tensor|parameter)"
    r"|torch\.(Size|device|serialization\._get_layout|[a-z]+\d*(_e\dm\d\w*)?)"
    rf"|torch\.({'|'.join(_ITEM_BYTES)})Storage"
)
_TENSOR_MAKERS = re.compile(r"torch\._(utils|tensor)\._rebuild_\w+|torch\.nn\.\w.*")
_DTYPE = re.compile(r"[<>=|]?([fiuc]\d{1,2}|b1|\?)")
_MAX_DIMENSIONS = 64
PLAIN = (str, int, float, bool, bytes, type(None))


class RefusedError(ValueError):
    """The pickle asks for more than weights need."""


@dataclass(frozen=True, slots=True)
class Name:
    """A function or a type that the pickle names."""

    name: str


@dataclass(frozen=True, slots=True)
class Made:
    """What a call of this function would make."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers outside of the pickle: key, and how many bytes it claims."""

    key: str
    count: int
    itemsize: int


def allowed(name: str) -> str:
    """Return `name` where it is known.

    Raises:
        RefusedError: It is not.
    """
    if _ALLOWED.fullmatch(name):
        return name
    if _TENSOR_MAKERS.fullmatch(name):
        raise RefusedError(f"GLOBAL {name}: expected a dense real tensor")
    raise RefusedError(f"GLOBAL {name[:150]}")


def storage_of(identity: Any) -> Storage:  # noqa: ANN401  whatever the pickle says
    """Return the storage that a persistent id names.

    Raises:
        ValueError, TypeError: It names none.
    """
    kind, made, key, _, count, *views = identity
    match = re.fullmatch(r"torch\.(\w+)Storage", made.name)
    if kind != "storage" or match is None or not isinstance(key, str) or any(views):
        raise ValueError(f"a storage {key!r} of {made.name}")
    return Storage(key, _natural(count), _ITEM_BYTES[match[1]])


def called(name: str, arguments: tuple[Any, ...]) -> object:
    """Return what stands for the result of a call.

    Raises:
        ValueError, TypeError: Its arguments do not go together, or ask for too much.
    """
    short = name.rsplit(".", 1)[-1]
    if short == "OrderedDict" and not arguments:
        return {}
    if short == "encode":
        text, encoding = arguments
        if encoding != "latin1":
            raise ValueError(f"text in {encoding!r}")
        return str(text).encode("latin1")
    if short == "_rebuild_parameter" and isinstance(arguments[0], Made):
        return arguments[0]
    checks: dict[str, Callable[..., object]] = {
        "Counter": lambda counts={}: isinstance(counts, dict),
        "Size": lambda sizes: all(type(n) is int for n in sizes),
        "_rebuild_tensor": _inside,
        "_rebuild_tensor_v2": _inside,
        "_reconstruct": lambda kind, shape, code: kind.name == "numpy.ndarray" and shape == (0,),
        "scalar": lambda dtype, data: dtype.name == "numpy.dtype" and isinstance(data, bytes),
        "dtype": lambda code, *_: _DTYPE.fullmatch(code),
        "device": lambda *words: all(isinstance(w, str | int) for w in words),
        "_get_layout": lambda word: isinstance(word, str),
    }
    if short not in checks or not checks[short](*arguments):
        raise ValueError(f"a call of {name} with other arguments than it is saved with")
    return Made(name)


def built(made: Made, state: Any) -> None:  # noqa: ANN401  whatever the pickle says
    """Check the state that is given to what was made.

    Raises:
        ValueError, TypeError: It asks for too much.
    """
    if made.name == "numpy.dtype":
        sound = state[3:5] == (None, None) and state[5:7] == (-1, -1)
    elif made.name.endswith("_reconstruct"):
        _, shape, dtype, _, data = state
        count = math.prod(map(_natural, shape))
        sound = dtype == Made("numpy.dtype") and isinstance(data, bytes) and count <= len(data)
    else:
        sound = False
    if not sound:
        raise ValueError(f"a state of {made.name} that is not plain")


def _inside(storage: Storage, offset: int, size: Any, stride: Any, *_: object) -> bool:  # noqa: ANN401
    """Return whether a tensor lies within its storage."""
    sizes, strides = list(map(_natural, size)), list(map(_natural, stride))
    if len(sizes) != len(strides) or len(sizes) > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor of {len(sizes)} dimensions and {len(strides)} strides")
    last = _natural(offset) + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    if math.prod(sizes) and last >= storage.count:
        raise ValueError(
            f"a tensor {tuple(sizes)!r} claims {last + 1} values of a storage of {storage.count}"
        )
    return True


def _natural(value: Any) -> int:  # noqa: ANN401  whatever the pickle says
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"expected a natural number, got {str(value)[:40]!r}")
    return value
