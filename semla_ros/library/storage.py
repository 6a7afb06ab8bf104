"""Adapters on disk, in SemLA's loradb layout (PEFT 0.10).

<domain>/adapter_config.json            rank, alpha, what kind of LoRA
<domain>/adapter_model.safetensors      base_model.model.<module>.lora_{A|B}.weight
<domain>/<domain>_statistics.npz        centroid in the navigator's embedding space
<domain>/SHA256SUMS                     what these files were when they were sealed; may be absent
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import BASE, Float32Array, LoraAdapter, LoraLayer
from semla_ros.library.adapter_config import (
    PICKLE_FILE,
    AdapterSettings,
    config_of,
    named_folders,
    read_settings,
)
from semla_ros.library.seal import (
    CONFIG_FILE,
    DOCUMENTS,
    MAX_DOCUMENT_BYTES,
    TENSOR_FILE,
    read_seal,
    read_sealed,
)
from semla_ros.library.statistics import (
    DomainStatistics,
    read_statistics,
    statistics_path,
    write_statistics,
)
from semla_ros.library.tensor_file import Pairs, read_pairs, read_shapes

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys

__all__ = [
    "CONFIG_FILE",
    "TENSOR_FILE",
    "DomainStatistics",
    "check_name",
    "copy_documents",
    "inspect_adapter",
    "read_adapter",
    "read_statistics",
    "read_whole_adapter",
    "statistics_path",
    "waits_for_adapter",
    "write_adapter",
    "write_statistics",
]

_NAME = re.compile(r"\w[\w-]{0,127}")


def check_name(name: str) -> str:
    """Return `name` if an adapter may bear it.

    Dots corrupt PEFT's keys, slashes leave the library, `,` and `=` end up in parameters and mix
    identities.

    Raises:
        AdapterError: Any other character than letters, digits, `_`, `-`, or the reserved name.
    """
    if name == BASE:
        raise AdapterError(f"adapter name {name!r} is reserved for the unadapted model: rename it")
    if not _NAME.fullmatch(name):
        raise AdapterError(
            f"expected an adapter name of letters, digits, '_' and '-' (at most 128), "
            f"got {name!r}: rename the folder"
        )
    return name


def read_adapter(
    folder: Path, *, name: str | None = None, trusted: TrustedKeys | None = None
) -> LoraAdapter:
    """Return the adapter in `folder`, every layer float32, layers with an all-zero B left out.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        name: The adapter's name; the folder's by default.
        trusted: Keys of which one must have signed the seal; None: signatures are not asked for.

    Raises:
        AdapterError: Missing, unsigned, damaged, too large, not finite, or not a plain LoRA.
    """
    whole = _adapter(folder, name, values=True, trusted=trusted)
    live = {module: layer for module, layer in whole.layers.items() if layer.lora_b.any()}
    return replace(whole, layers=live)


def read_whole_adapter(folder: Path, *, name: str | None = None) -> LoraAdapter:
    """Return the adapter as its file has it, all-zero B included; else as `read_adapter`."""
    return _adapter(folder, name, values=True, trusted=None)


def inspect_adapter(
    folder: Path, *, name: str | None = None, trusted: TrustedKeys | None = None
) -> LoraAdapter:
    """Return the adapter with zeros instead of its values, which are not read; else as above."""
    return _adapter(folder, name, values=False, trusted=trusted)


def _adapter(
    folder: Path, name: str | None, *, values: bool, trusted: TrustedKeys | None
) -> LoraAdapter:
    name = check_name(folder.name if name is None else name)
    try:
        return _read(folder, name, values=values, trusted=trusted)
    except OSError as error:
        raise AdapterError(
            f"adapter {name!r} cannot be read ({error}): check the disk and its rights"
        ) from error


def _read(folder: Path, name: str, *, values: bool, trusted: TrustedKeys | None) -> LoraAdapter:
    if waits_for_adapter(folder, name):
        raise AdapterError(
            f"domain {name!r} has statistics and waits for its adapter: "
            f"semla library add BUNDLE FOLDER --name {name}"
        )
    seal = read_seal(folder, trusted=trusted)
    settings = read_settings(folder, seal=seal)
    where, path = f"{folder.name}/{TENSOR_FILE}", folder / TENSOR_FILE
    pairs: Pairs = read_pairs(path, where, seal=seal) if values else read_shapes(path, where)
    _check_targets(settings, pairs, where)
    layers = {
        module: _layer(pairs[module], module, settings=settings, where=where)
        for module in sorted(pairs)
    }
    return LoraAdapter(name, layers, base_model=settings.base_model)


def write_adapter(folder: Path, adapter: LoraAdapter, *, alpha: float) -> None:
    """Write `adapter` into `folder` so that PEFT, SemLA and `read_adapter` read the same numbers.

    Args:
        folder: Made if missing; each file is replaced in one step.
        adapter: At least one layer; `base_model` goes into `base_model_name_or_path`.
        alpha: The usual alpha; layers whose scaling * rank differs get an `alpha_pattern`.

    Raises:
        AdapterError: Nothing to write, or the disk refuses; older files are left as they were.
    """
    if not adapter.layers:
        raise AdapterError(f"adapter {adapter.name!r}: expected at least one layer to write")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for module, layer in adapter.layers.items():
        for side, array in (("A", layer.lora_a), ("B", layer.lora_b)):
            key = f"base_model.model.{module}.lora_{side}.weight"
            tensors[key] = np.ascontiguousarray(array, dtype=np.float32)
    config = json.dumps(config_of(adapter, alpha), indent=2, sort_keys=True)
    content = save(tensors, metadata={"format": "pt"})
    write_file(folder / TENSOR_FILE, content, error=AdapterError)
    write_file(folder / CONFIG_FILE, (config + "\n").encode(), error=AdapterError)


def waits_for_adapter(folder: Path, name: str) -> bool:
    """Return whether `folder` holds the statistics of `name` and no adapter."""
    files = (CONFIG_FILE, TENSOR_FILE, PICKLE_FILE)
    adapter = any((folder / f).exists() for f in files) or bool(named_folders(folder))
    return statistics_path(folder, name).is_file() and not adapter


def copy_documents(source: Path, target: Path) -> None:
    """Copy what says whose an adapter is (`DOCUMENTS`) beside it, where it is small text."""
    for name in DOCUMENTS:
        path = source / name
        if path.is_file() and path.stat().st_size <= MAX_DOCUMENT_BYTES:
            shutil.copyfile(path, target / name)


def copy_sealed(source: Path, target: Path, *, max_bytes: int) -> None:
    """Copy a file of an adapter; what is written are the bytes that were held against its seal.

    Raises:
        AdapterError: Missing, too large, or not what was sealed.
    """
    if not source.is_file():
        raise AdapterError(f"expected {source.name} in {str(source.parent)!r}, found none")
    seal = read_seal(source.parent)
    target.write_bytes(read_sealed(source, seal, max_bytes=max_bytes))


def _check_targets(settings: AdapterSettings, pairs: Mapping[str, object], where: str) -> None:
    ends = {m[i:] for m in pairs for i in (0, *(j + 1 for j, c in enumerate(m) if c == "."))}
    missing = set(settings.target_modules) - ends
    if missing:
        raise AdapterError(
            f"{where}: lacks {len(missing)} modules that {CONFIG_FILE} lists, "
            f"e.g. {sorted(missing)[:3]!r}: copy the adapter again"
        )


def _layer(
    pair: Mapping[str, Float32Array], module: str, *, settings: AdapterSettings, where: str
) -> LoraLayer:
    if len(pair) != 2:
        raise AdapterError(
            f"{where}: {module!r} has lora_{next(iter(pair))} alone, expected A and B: "
            "copy the adapter again"
        )
    rank = settings.rank_of(module)
    lora_a, lora_b = pair["A"], pair["B"]
    if lora_a.shape[0] != rank or lora_b.shape[1] != rank:
        raise AdapterError(
            f"{where}: {module!r} expected rank {rank} as in {CONFIG_FILE}, got A "
            f"{lora_a.shape} and B {lora_b.shape}: the two files do not belong together"
        )
    return LoraLayer(lora_a, lora_b, settings.scaling_of(module))
