"""`semla library verify`: every sealed file and every adapter, opened whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from semla_ros.bundle import MANIFEST, ModelBundle, open_bundle
from semla_ros.errors import AdapterError, BundleError
from semla_ros.library.library import LibraryContract
from semla_ros.library.seal import SEAL_FILE
from semla_ros.library.statistics import DomainStatistics
from semla_ros.types import LoraAdapter

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class AdapterCheck:
    """One adapter.

    Attributes:
        name: Its folder.
        problems: What is wrong and what to do, one line each; none: it serves.
        layers: How many layers it changes, 0 where it cannot be read.
        statistics: Its checked statistics; None without a navigator, or where they are wrong.
    """

    name: str
    problems: tuple[str, ...]
    layers: int
    statistics: DomainStatistics | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify_library` found.

    Attributes:
        bundle_problem: What is wrong with the sealed files, empty for nothing.
        sealed_files: How many there are.
        adapters: Each adapter of the library.
        notes: Adapters without a seal, and what is left over from interrupted work.
    """

    bundle_problem: str
    sealed_files: int
    adapters: tuple[AdapterCheck, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.bundle_problem and not any(a.problems for a in self.adapters)


def verify_library(folder: Path) -> Verification:
    """Return the state of a bundle's sealed files (by sha256) and of its adapters.

    Each adapter is read whole: settings, header, every tensor finite and of the shape its layer
    has, the base model's identity, the statistics and their encoder.

    Raises:
        BundleError: There is no bundle in `folder`.
    """
    if not (folder / MANIFEST).is_file():
        open_bundle(folder)
    problem = ""
    try:
        bundle = open_bundle(folder, verify=True)
    except BundleError as error:
        problem = str(error)
        try:
            bundle = open_bundle(folder, verify=False)
        except BundleError:
            return Verification(problem, 0, (), ())
    contract = contract_of(bundle)
    adapters = tuple(_check(path, contract) for path in adapter_folders(bundle.library))
    notes = (*_unsealed(bundle.library), *_leftovers(bundle.library))
    return Verification(problem, len(bundle.manifest.files), adapters, notes)


def contract_of(bundle: ModelBundle) -> LibraryContract:
    """Return what adapters of `bundle` must fit."""
    navigator = bundle.manifest.navigator
    return LibraryContract(
        layers={layer.name: layer for layer in bundle.manifest.layers},
        base_model=bundle.manifest.base_model,
        encoder=navigator.identity if navigator else None,
        dim=navigator.dim if navigator else None,
    )


def adapter_folders(library: Path) -> tuple[Path, ...]:
    """Return the folders that a library takes for adapters, sorted.

    Raises:
        BundleError: The library is not there.
    """
    if not library.is_dir():
        raise BundleError(f"expected the folder {str(library)!r}, found none: make it")
    folders = (p for p in library.iterdir() if p.is_dir() and not p.name.startswith("."))
    return tuple(sorted(folders))


def _check(folder: Path, contract: LibraryContract) -> AdapterCheck:
    problems: list[str] = []
    adapter: LoraAdapter | None = _tried(lambda: contract.read(folder, folder.name), problems)
    statistics = _tried(lambda: contract.statistics(folder, folder.name), problems)
    layers = len(adapter.layers) if adapter else 0
    return AdapterCheck(folder.name, tuple(problems), layers, statistics)


def _tried(call: Callable[[], _T], problems: list[str]) -> _T | None:
    try:
        return call()
    except AdapterError as error:
        problems.append(str(error))
        return None


def _unsealed(library: Path) -> tuple[str, ...]:
    folders = adapter_folders(library)
    return tuple(
        f"{folder.name} is unsealed: semla library seal, once you trust it"
        for folder in folders
        if not (folder / SEAL_FILE).exists()
    )


def _leftovers(library: Path) -> tuple[str, ...]:
    found = [*library.glob(".staging-*"), *library.glob(".*.resume")]
    return tuple(
        f"{path.name} is left over from interrupted work: run the same command again to go on, "
        "or delete it"
        for path in sorted(found)
    )
