"""Adapters on disk, in SemLA's loradb layout (PEFT 0.10).

<domain>/adapter_config.json            rank, alpha, what kind of LoRA
<domain>/adapter_model.safetensors      base_model.model.<module>.lora_{A|B}.weight
<domain>/<domain>_statistics.npz        centroid in the navigator's embedding space
<domain>/SHA256SUMS                     what these files were when they were sealed; may be absent
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.core.errors import AdapterError
from semla_ros.core.types import BASE, Float32Array, LoraAdapter, LoraLayer
from semla_ros.library.adapter_config import (
    PICKLE_FILE,
    AdapterSettings,
    named_folders,
    read_settings,
)
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE, read_seal
from semla_ros.library.statistics import statistics_path
from semla_ros.library.tensor_file import Pairs, read_pairs, read_shapes

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys

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


def waits_for_adapter(folder: Path, name: str) -> bool:
    """Return whether `folder` holds the statistics of `name` and no adapter."""
    files = (CONFIG_FILE, TENSOR_FILE, PICKLE_FILE)
    adapter = any((folder / f).exists() for f in files) or bool(named_folders(folder))
    return statistics_path(folder, name).is_file() and not adapter


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
