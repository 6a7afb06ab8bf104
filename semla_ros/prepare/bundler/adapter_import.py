"""SemLA's adapters into a bundle: each one read, checked, and written as it will be executed."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from semla_ros.bundle import GraphWeight, NavigatorSpec
from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.adapter_config import MAX_CONFIG_BYTES
from semla_ros.library.compatibility import check_adapter, check_statistics, with_layer_names
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.statistics import read_statistics
from semla_ros.library.storage import inspect_adapter, read_adapter
from semla_ros.library.tensor_file import MAX_TENSOR_BYTES
from semla_ros.prepare.adapters.changes import copy_companions, copy_sealed
from semla_ros.prepare.adapters.seals import write_seal
from semla_ros.prepare.adapters.write import write_adapter, write_statistics
from semla_ros.prepare.bundler.adapter_files import holds_adapter, plain_folder

IGNORE, APPLY = "ignore", "apply"
QKV_POLICIES = (IGNORE, APPLY)
_QKV = re.compile(r"clip_model\..*\.attn\.[qkv]_proj$")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdapterContract:
    """What adapters are held against.

    Attributes:
        layers: The layers that adapters may change, by name.
        base_model: Identity of the base.
        navigator: None: centroids are not needed.
        qkv: What happens to adapters that change CLIP's q, k, v, which official SemLA never
            executes: `ignore` leaves these changes out, `apply` keeps them, None refuses.
        base_names: See `Manifest`.
    """

    layers: Mapping[str, GraphWeight]
    base_model: str
    navigator: NavigatorSpec | None
    qkv: str | None
    base_names: tuple[str, ...] = ()


def import_library(
    source: Path, target: Path, contract: AdapterContract, *, skip_unusable: bool = False
) -> dict[str, str]:
    """Write every usable adapter of `source` to `target`; return why others were left out.

    Args:
        source: SemLA's `loradb`: a folder for each domain.
        target: An existing empty folder.
        contract: What they must fit.
        skip_unusable: Leave unusable ones out instead of refusing the library.

    Raises:
        LibraryError: No adapters, or one is unusable.
    """
    folders = _adapter_folders(source)
    problems: dict[str, str] = {}
    for folder in tqdm(folders, desc="adapters", unit="adapter", disable=None, leave=False):
        try:
            with tempfile.TemporaryDirectory(prefix="semla-") as scratch:
                plain = plain_folder(folder, Path(scratch))
                _import(plain, target / folder.name, contract)
        except AdapterError as error:
            problems[folder.name] = str(error)
            shutil.rmtree(target / folder.name, ignore_errors=True)
            _LOG.warning("adapter %s left out: %s", folder.name, error)
    if problems and (not skip_unusable or len(problems) == len(folders)):
        told = "; ".join(f"{name!r}: {text}" for name, text in problems.items())
        hint = "" if len(problems) == len(folders) else ", or leave them out with --skip-unusable"
        raise LibraryError(
            f"{len(problems)} of {len(folders)} adapters are unusable: repair them{hint}. {told}"
        )
    return problems


def touched(source: Path) -> set[str]:
    """Return the names of all modules that adapters of `source` change, readable ones.

    Raises:
        LibraryError: No adapters.
    """
    names: set[str] = set()
    for folder in _adapter_folders(source):
        # Unreadable ones are told when they are imported.
        with tempfile.TemporaryDirectory(prefix="semla-") as scratch, suppress(AdapterError):
            names |= inspect_adapter(plain_folder(folder, Path(scratch))).layers.keys()
    return names


def _adapter_folders(source: Path) -> list[Path]:
    if not source.is_dir():
        raise LibraryError(f"expected a folder of adapters, found none at {str(source)!r}")
    folders = [
        folder
        for folder in sorted(source.iterdir())
        if folder.is_dir() and not folder.name.startswith(".") and holds_adapter(folder)
    ]
    if not folders:
        raise LibraryError(
            f"expected <domain>/{TENSOR_FILE} in {str(source)!r}, found none: give SemLA's loradb"
        )
    return folders


def _import(source: Path, target: Path, contract: AdapterContract) -> None:
    read = read_adapter(source)
    adapter = _executed(read, contract)
    named = with_layer_names(adapter, contract.layers)
    base, others = contract.base_model, contract.base_names
    check_adapter(named, contract.layers, base_model=base, base_names=others)
    target.mkdir()
    if adapter is read:
        copy_sealed(source / CONFIG_FILE, target / CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES)
        copy_sealed(source / TENSOR_FILE, target / TENSOR_FILE, max_bytes=MAX_TENSOR_BYTES)
    else:
        layer = next(iter(adapter.layers.values()))
        write_adapter(target, adapter, alpha=layer.scaling * len(layer.lora_a))
    copy_companions(source, target)
    if contract.navigator is not None:
        name, spec = source.name, contract.navigator
        statistics = read_statistics(source, name)
        check_statistics(statistics, name, encoder=spec.identity, dim=spec.dim)
        write_statistics(target, name, replace(statistics, encoder=spec.identity))
    write_seal(target)


def _executed(adapter: LoraAdapter, contract: AdapterContract) -> LoraAdapter:
    """Return `adapter` without what will not be executed; itself where all of it will."""
    live = [module for module in adapter.layers if _QKV.search(module)]
    if not live:
        return adapter
    if contract.qkv is None:
        raise AdapterError(
            f"{len(live)} of its {len(adapter.layers)} changes are in CLIP's q, k, v, which "
            "official SemLA never executes: give --qkv ignore for its numbers, or --qkv apply if "
            "it was trained otherwise"
        )
    applied = contract.layers if contract.qkv == APPLY else {}
    dropped = {module for module in live if module not in applied}
    kept = {name: layer for name, layer in adapter.layers.items() if name not in dropped}
    if not kept:
        raise AdapterError("nothing is left of it without its changes in CLIP's q, k, v")
    return replace(adapter, layers=kept) if dropped else adapter
