"""Tensors of a checkpoint file, read without running any code that the file may hold.

PyTorch files are read with the restricted unpickler and through a memory map, safetensors files
likewise: a large checkpoint costs address space, not memory, until its pages are used.
"""

from __future__ import annotations

import codecs
import collections
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semla_ros.core.errors import TrainingError
from semla_ros.core.files.lfs_pointer import lfs_remedy
from semla_ros.prepare.bundler.checkpoint_sizes import check_archive, check_old_format
from semla_ros.prepare.bundler.pickle_calls import RefusedError

MAX_CHECKPOINT_BYTES = 64_000_000_000
MAX_TENSORS = 100_000
_ZIP = b"PK\x03\x04"
_WEB_PAGE = (b"<!doctype", b"<html")
_WRAPPERS = ("model", "state_dict")
_PARALLEL = "module."


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors in `path` by key, on the CPU, memory-mapped.

    Args:
        path: A `.safetensors` file, or a PyTorch file holding a state dict, bare or under `model`
            (detectron2) or `state_dict`.

    Raises:
        TrainingError: Missing, damaged, half downloaded, without tensors, or in need of running
            code that it brings.
    """
    head = _head(path)
    if remedy := lfs_remedy(head):
        raise TrainingError(f"checkpoint {path.name!r}: {remedy}")
    if head.lower().startswith(_WEB_PAGE):
        raise TrainingError(
            f"checkpoint {path.name!r} is a web page, not the weights: download the file itself"
        )
    is_torch = head.startswith(_ZIP) or head[:1] == b"\x80"
    stored = _read_torch(path, zipped=head.startswith(_ZIP)) if is_torch else _read_plain(path)
    state = {
        key.removeprefix(_PARALLEL): _tensor(value, key, path)
        for key, value in _state_of(stored, path).items()
    }
    for key, tensor in state.items():
        _check(key, tensor, path)
    return state


def _head(path: Path) -> bytes:
    if not path.is_file():
        raise TrainingError(f"expected a checkpoint file, found none at {str(path)!r}")
    size = path.stat().st_size
    if not 16 <= size <= MAX_CHECKPOINT_BYTES:
        raise TrainingError(
            f"checkpoint {path.name!r}: expected 16 to {MAX_CHECKPOINT_BYTES} bytes, got {size}: "
            "download it again"
        )
    with path.open("rb") as stream:
        return stream.read(64)


def _read_plain(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise TrainingError(
            f"checkpoint {path.name!r} is neither a PyTorch file nor whole safetensors ({error}): "
            "download it again"
        ) from error


def _read_torch(path: Path, *, zipped: bool) -> object:
    """Return what the file holds: tensors, containers, numbers, text; anything else is refused.

    Schedulers save numpy scalars and counters beside the weights; those are data as well.
    """
    _check_sizes(path, zipped=zipped)
    try:
        with torch.serialization.safe_globals(_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped or None)
    except pickle.UnpicklingError as error:
        raise _more_than_weights(path, error) from error
    except Exception as error:  # the unpickler stumbles over damaged bytes in any way
        raise _damaged(path, error) from error


def _check_sizes(path: Path, *, zipped: bool) -> None:
    """Refuse a PyTorch file that claims more memory than it has bytes."""
    try:
        if zipped:
            check_archive(path)
        else:
            check_old_format(path)
    except RefusedError as error:
        raise _more_than_weights(path, error) from error
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _more_than_weights(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"checkpoint {path.name!r} holds more than weights ({_reason(error)}): loading it "
        "would run code from the file, which is refused; save its state dict alone, give a "
        ".safetensors file, or download it again"
    )


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"checkpoint {path.name!r} is damaged or half downloaded ({_reason(error)}): "
        "download it again"
    )


def _numbers() -> list[Any]:
    """Return what numpy's scalars and arrays, and counters, are unpickled with: plain data."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    kinds = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")
    return [
        collections.Counter,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        *((array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        (codecs.encode, "_codecs.encode"),
    ]


def _reason(error: BaseException) -> str:
    """Return the telling sentence of torch's long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "WeightsUnpickler error" in line or "GLOBAL" in line]
    reason = (telling or lines or [type(error).__name__])[0]
    return reason.removeprefix("WeightsUnpickler error: ").split(" was not an allowed")[0][:200]


def _state_of(stored: object, path: Path) -> Mapping[str, Any]:
    """Return the mapping of tensors in `stored`."""
    for _ in range(2):
        if not isinstance(stored, Mapping):
            break
        inner = [stored[w] for w in _WRAPPERS if isinstance(stored.get(w), Mapping)]
        if not inner:
            break
        stored = inner[0]
    arrays = (Tensor, np.ndarray)
    if (
        not isinstance(stored, Mapping)
        or not all(isinstance(key, str) for key in stored)
        or not any(isinstance(value, arrays) for value in stored.values())
    ):
        raise TrainingError(
            f"checkpoint {path.name!r}: expected a state dict, bare or under 'model', got "
            f"{_describe(stored)}: give the file with the weights"
        )
    if len(stored) > MAX_TENSORS:
        raise TrainingError(
            f"checkpoint {path.name!r}: expected at most {MAX_TENSORS} tensors, got {len(stored)}"
        )
    return stored


def _describe(stored: object) -> str:
    if isinstance(stored, Mapping):
        return f"a mapping with {[str(k) for k in stored][:5]!r}"
    return f"a {type(stored).__name__}"


def _tensor(value: object, key: object, path: Path) -> Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(value)
    if isinstance(value, Tensor):
        return value
    raise TrainingError(
        f"checkpoint {path.name!r}: expected a tensor under {key!r}, got {type(value).__name__}: "
        "give a plain state dict"
    )


def _check(key: str, tensor: Tensor, path: Path) -> None:
    """Refuse what is no dense array inside the file: a small file must not fill the memory."""
    where = f"checkpoint {path.name!r}, {key!r}"
    odd = tensor.is_quantized or tensor.is_complex() or tensor.is_meta
    if tensor.layout != torch.strided or odd:
        raise TrainingError(
            f"{where}: expected a dense real tensor, got {tensor.layout} of {tensor.dtype} on "
            f"{tensor.device.type!r}: give a plain state dict"
        )
    if tensor.numel() == 0 or tensor.ndim > 8:
        raise TrainingError(f"{where}: absurd shape {tuple(tensor.shape)!r}: the file is damaged")
    needed = tensor.numel() * tensor.element_size()
    if needed > tensor.untyped_storage().nbytes():
        raise TrainingError(
            f"{where}: shape {tuple(tensor.shape)!r} claims {needed} bytes, the file has "
            f"{tensor.untyped_storage().nbytes()}: refused"
        )
    if tensor.is_floating_point() and not all(
        torch.isfinite(part).all() for part in _pieces(tensor)
    ):
        raise TrainingError(f"{where}: holds NaN or infinity: the file is damaged")


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the tensor in parts small enough for the temporary masks of a check."""
    flat = tensor.reshape(-1)
    for start in range(0, len(flat), 1 << 24):
        yield flat[start : start + (1 << 24)]
