"""`semla library verify`: every sealed file and every adapter, opened whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from semla_ros.bundle import MANIFEST, ModelBundle, open_bundle
from semla_ros.core.errors import AdapterError, BundleError, LibraryError
from semla_ros.core.files.signature import Signer, TrustedKeys
from semla_ros.core.types import LoraAdapter
from semla_ros.library.library import LibraryContract
from semla_ros.library.seal import SEAL_FILE, read_seal
from semla_ros.library.statistics import DomainStatistics

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class AdapterCheck:
    """One adapter.

    Attributes:
        name: Its folder.
        problems: What is wrong and what to do, one line each; none: it serves.
        layers: How many layers it changes, 0 where it cannot be read.
        statistics: Its checked statistics; None without a navigator, or where they are wrong.
        signer: Who signed its seal, None where no signature was asked for, or it is wrong.
    """

    name: str
    problems: tuple[str, ...]
    layers: int
    statistics: DomainStatistics | None
    signer: Signer | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify_library` found.

    Attributes:
        bundle_problem: What is wrong with the sealed files, empty for nothing.
        sealed_files: How many there are.
        adapters: Each adapter of the library.
        notes: Adapters without a seal, and what is left over from interrupted work.
        signer: Who signed the bundle, None where no signature was asked for, or it is wrong.
    """

    bundle_problem: str
    sealed_files: int
    adapters: tuple[AdapterCheck, ...]
    notes: tuple[str, ...]
    signer: Signer | None = None

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.bundle_problem and not any(a.problems for a in self.adapters)


def verify_library(folder: Path, *, trusted: TrustedKeys | None = None) -> Verification:
    """Return the state of a bundle's sealed files (by sha256) and of its adapters.

    Each adapter is read whole: settings, header, every tensor finite and of the shape its layer
    has, the base model's identity, the statistics and their encoder, the captions.

    Args:
        folder: The bundle.
        trusted: Keys of which one must have signed bundle and seals; None: nobody is asked for.

    Raises:
        BundleError: There is no bundle in `folder`.
    """
    if not (folder / MANIFEST).is_file():
        open_bundle(folder)
    problem = ""
    try:
        bundle = open_bundle(folder, trusted=trusted)
    except BundleError as error:
        problem = str(error)
        try:
            bundle = open_bundle(folder, verify=False)
        except BundleError:
            return Verification(problem, 0, (), ())
    contract = replace(contract_of(bundle), trusted=trusted)
    adapters = tuple(_check(path, contract) for path in adapter_folders(bundle.library))
    notes = (*_unsealed(bundle.library), *_leftovers(bundle.library))
    files = len(bundle.manifest.files)
    return Verification(problem, files, adapters, notes, bundle.signer)


def contract_of(bundle: ModelBundle) -> LibraryContract:
    """Return what adapters of `bundle` must fit."""
    navigator = bundle.manifest.navigator
    return LibraryContract(
        layers={layer.name: layer for layer in bundle.manifest.layers},
        base_model=bundle.manifest.base_model,
        base_names=bundle.manifest.base_names,
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


def asked(names: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """Return `names`, all adapters where there are none.

    Raises:
        LibraryError: One is no adapter of `folders`.
    """
    known = [path.name for path in folders]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LibraryError(f"expected adapters of {known!r}, got {unknown!r}")
    return tuple(names or known)


def _check(folder: Path, contract: LibraryContract) -> AdapterCheck:
    problems: list[str] = []
    adapter: LoraAdapter | None = _tried(lambda: contract.read(folder, folder.name), problems)
    statistics = _tried(lambda: contract.statistics(folder, folder.name), problems)
    _tried(lambda: contract.captions(folder), problems)
    layers = len(adapter.layers) if adapter else 0
    trusted = contract.trusted
    seal = read_seal(folder, trusted=trusted) if trusted and adapter else None
    signer = seal.signer if seal else None
    return AdapterCheck(folder.name, tuple(problems), layers, statistics, signer)


def _tried(call: Callable[[], _T], problems: list[str]) -> _T | None:
    try:
        return call()
    except AdapterError as error:
        problems.append(str(error))
        return None


def _unsealed(library: Path) -> tuple[str, ...]:
    folders = adapter_folders(library)
    found = [folder.name for folder in folders if not (folder / SEAL_FILE).exists()]
    told = f"unsealed: {', '.join(found)}: semla library seal, once you trust them"
    return (told,) if found else ()


def _leftovers(library: Path) -> tuple[str, ...]:
    found = [*library.glob(".staging-*"), *library.glob(".*.resume")]
    return tuple(
        f"{path.name} is left over from interrupted work: run the same command again to go on, "
        "or delete it"
        for path in sorted(found)
    )
