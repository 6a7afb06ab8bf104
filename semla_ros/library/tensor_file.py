"""`adapter_model.safetensors`: which tensors make an adapter, and their values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.lfs_pointer import lfs_remedy_of
from semla_ros.core.types import Float32Array
from semla_ros.library.adapter_config import MAX_RANK, missing_remedy, module_name
from semla_ros.library.seal import Seal, read_sealed

MAX_TENSOR_BYTES = 1_000_000_000
MAX_HEADER_BYTES = 8_000_000
MAX_FEATURES = 262_144
_DTYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "BF16": np.uint16}
_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.\w+)?\.weight")
_KOHYA = re.compile(r"lora_(t\w\d?|unet|transformer)_|\.lora_(down|up)\.|\.lora\.(down|up)\.")
_LENGTH_BYTES = 8

Pairs = dict[str, dict[str, Float32Array]]
"""Module -> side (A or B) -> factor."""


def read_pairs(path: Path, where: str, *, seal: Seal | None) -> Pairs:
    """Return the factors in `path`, float32, finite; B lies turned in memory, as merges read it.

    The file is read once: what is hashed is what is parsed.

    Args:
        path: The file.
        where: Its name in messages.
        seal: What it must be, None where nobody has said.

    Raises:
        AdapterError: Missing, damaged, not what was sealed, too large, not finite, or not LoRA.
    """
    _require(path, where)
    try:
        content = read_sealed(path, seal, max_bytes=MAX_TENSOR_BYTES)
        _check_header(int.from_bytes(content[:_LENGTH_BYTES], "little"), len(content), where)
        views: list[tuple[str, dict[str, Any]]]
        views = deserialize(content)  # type: ignore[no-untyped-call]
        return _pairs(((key, _values(key, view, where)) for key, view in views), where)
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(where, error) from error


def read_shapes(path: Path, where: str) -> Pairs:
    """Return zeros instead of the factors in `path`, of which the header alone is read.

    Raises:
        AdapterError: Missing, damaged, too large, or not LoRA.
    """
    _require(path, where)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            header = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        _check_header(header, size, where)
        with safe_open(path, framework="np") as file:
            views = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return _pairs(
                (
                    (key, _no_values(_checked(key, view.get_shape(), view.get_dtype(), where)))
                    for key, view in views.items()
                ),
                where,
            )
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(where, error) from error


def _pairs(factors: Iterable[tuple[str, Float32Array]], where: str) -> Pairs:
    pairs: Pairs = {}
    for key, factor in factors:
        named = factor_name(key)
        if named is None:
            continue
        module, side = named
        if side in pairs.setdefault(module, {}):
            raise AdapterError(
                f"{where}: holds lora_{side} of {module!r} twice, such as {key!r}: save one "
                "adapter alone"
            )
        pairs[module][side] = factor
    if not pairs:
        raise AdapterError(f"{where}: expected LoRA tensors, got none: copy the adapter again")
    return pairs


def factor_name(key: str) -> tuple[str, str] | None:
    """Return module (see `module_name`) and side (A or B) of a tensor, None for no factor.

    Unsaved adapters have a name of their own in the key (`lora_A.default.`).
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    return module_name(match["module"]), match["side"]


def _values(key: str, view: dict[str, Any], where: str) -> Float32Array:
    shape = _checked(key, view["shape"], view["dtype"], where)
    order: Literal["C", "F"] = "F" if _side(key) == "B" else "C"
    stored = np.frombuffer(view["data"], _DTYPES[view["dtype"]]).reshape(shape)
    if view["dtype"] == "BF16":  # the upper half of a float32
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    array: Float32Array = np.array(stored, np.float32, order=order)
    if not np.isfinite(array).all():
        raise AdapterError(
            f"{where}: {key!r} holds NaN or infinity: train or copy the adapter again"
        )
    return array


@lru_cache(maxsize=256)
def _no_values(shape: tuple[int, ...]) -> Float32Array:
    return np.broadcast_to(np.float32(0), shape)


def _side(key: str) -> str:
    named = factor_name(key)
    return "" if named is None else named[1]


def _require(path: Path, where: str) -> None:
    if not path.is_file():
        raise AdapterError(f"expected {where}, found none: {missing_remedy(path.parent)}")
    if remedy := lfs_remedy_of(path):
        raise AdapterError(f"{where}: {remedy}")


def _check_header(header: int, size: int, where: str) -> None:
    """Check how long the header says it is against the size of the file."""
    if size > MAX_TENSOR_BYTES:
        raise AdapterError(
            f"{where}: expected at most {MAX_TENSOR_BYTES} bytes, got {size}: this is no adapter"
        )
    if not 2 <= header <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
        raise AdapterError(
            f"{where}: damaged or truncated (header of {header} bytes in a file of {size}): "
            "copy the adapter again"
        )


def _checked(key: str, shape: list[int], dtype: str, where: str) -> tuple[int, ...]:
    """Return the shape of the tensor `key` as a matrix: a factor of a linear or convolution layer.

    Of a convolution A is (rank, in, h, w) and B (out, rank, 1, 1): their product, seen as
    (out, in h w), is the change of its weight.

    Raises:
        AdapterError: It is something else.
    """
    side = _side(key)
    if not side and _KOHYA.search(key):
        raise AdapterError(
            f"{where}: {key!r} is a name of kohya's or diffusers' format, which does not tell the "
            "layers of this model apart: save it with PEFT's save_pretrained"
        )
    if not side:
        raise AdapterError(
            f"{where}: expected base_model.model.<module>.lora_A|B.weight, "
            f"got {key!r}: only plain LoRA of linear and convolution layers is supported"
        )
    rank_axis = 0 if side == "A" else 1
    whole = shape
    if len(shape) == 4 and (side == "A" or shape[2:] == [1, 1]):
        shape = [shape[0], math.prod(shape[1:])]
    sane = len(shape) == 2 and 1 <= shape[rank_axis] <= MAX_RANK
    if not sane or not 1 <= shape[1 - rank_axis] <= MAX_FEATURES:
        raise AdapterError(
            f"{where}: expected {key!r} as (rank, in) or (out, rank) with rank up to {MAX_RANK} "
            f"and features up to {MAX_FEATURES}, got {tuple(whole)}"
        )
    if dtype not in _DTYPES:
        raise AdapterError(
            f"{where}: expected {key!r} as one of {tuple(_DTYPES)!r}, got {dtype!r}: "
            "save it as float32"
        )
    return tuple(shape)


def _damaged(where: str, error: Exception) -> AdapterError:
    return AdapterError(f"{where}: damaged or truncated ({error}): copy the adapter again")
