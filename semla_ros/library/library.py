"""The adapters on disk with their centroids: a snapshot that never changes under its users."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np

from semla_ros.bundle import GraphWeight
from semla_ros.errors import AdapterError, LibraryError
from semla_ros.library.adapter_config import CONFIG_FILE, MAX_CONFIG_BYTES
from semla_ros.library.contract import LibraryContract
from semla_ros.library.memory import DEFAULT_BYTES, AdapterMemory
from semla_ros.library.spread import PooledSpread, StatisticsStore
from semla_ros.library.staging import staging
from semla_ros.library.statistics import (
    MAX_STATISTICS_BYTES,
    DomainStatistics,
    statistics_path,
)
from semla_ros.library.storage import (
    MAX_TENSOR_BYTES,
    TENSOR_FILE,
    check_name,
    copy_documents,
    waits_for_adapter,
)
from semla_ros.types import Float64Array, LoraAdapter

__all__ = ["AdapterLibrary", "LibraryContract"]

_LOG = logging.getLogger(__name__)

_SHOWN = 8
"""Names in one line of the log."""


class AdapterLibrary:
    """A snapshot of a library folder; reading is thread-safe.

    `add`, `remove` and `rename` change the folder and return the next snapshot; this one keeps
    answering as before for what it has read, so that a running swap never sees half a change.
    """

    def __init__(
        self, root: Path, contract: LibraryContract, *, memory_bytes: int = DEFAULT_BYTES
    ) -> None:
        if not root.is_dir():
            raise LibraryError(f"expected a library folder, got {str(root)!r}: create it")
        self.root = root
        self._contract = contract
        self._memory = AdapterMemory(memory_bytes)
        self._statistics = StatisticsStore()
        self._problems: dict[str, str] = {}
        with _disk(f"read the library {str(root)!r}"):
            self.names = self._scan()
        self._report_silence()
        self.centroids = self._stack_centroids()

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        layers: Sequence[GraphWeight],
        base_model: str,
        encoder: str | None,
        dim: int | None,
        memory_bytes: int = DEFAULT_BYTES,
    ) -> AdapterLibrary:
        """Return the library in folder `root`; an empty one is allowed.

        Unusable adapters go to `problems`. As many as fit in memory are read and checked whole;
        of the others configuration, names and shapes are checked now, values when they are used.

        Args:
            root: One folder per adapter, named after it.
            layers: The bundle's adaptable layers.
            base_model: The bundle's base identity.
            encoder: The navigator's identity, None without one.
            dim: Length of a centroid, None without a navigator.
            memory_bytes: Factors kept in memory; the others stay on disk.

        Raises:
            LibraryError: No such folder.
        """
        by_name = {layer.name: layer for layer in layers}
        contract = LibraryContract(by_name, base_model, encoder, dim)
        return cls(root, contract, memory_bytes=memory_bytes)

    @property
    def statistics(self) -> Mapping[str, DomainStatistics]:
        """Statistics by adapter name; empty without a navigator."""
        return self._statistics.by_name

    @property
    def spread(self) -> PooledSpread | None:
        """The spread within domains that know theirs, None where none does."""
        return self._statistics.spread

    @property
    def memory_bytes(self) -> int:
        """Bytes of the factors that are in memory."""
        return self._memory.used_bytes

    @property
    def problems(self) -> Mapping[str, str]:
        """Adapters that do not serve, with the reason."""
        return MappingProxyType(self._problems)

    def get(self, name: str) -> LoraAdapter:
        """Return the adapter `name`, from the cache or from disk.

        Raises:
            AdapterError: Unknown, unusable, or damaged since the library was opened.
        """
        if name not in self.names:
            reason = self._problems.get(name, f"the library has {self.names!r}")
            raise AdapterError(f"adapter {name!r} cannot serve: {reason}")
        kept = self._memory.get(name)
        if kept is not None:
            return kept
        return self._memory.keep(self._contract.read(self.root / name, name))

    def gone(self) -> dict[str, str]:
        """Return the adapters that are neither in memory nor on the disk now, with the reason."""
        gone = {}
        for name in self.names:
            if not self._memory.holds(name):
                try:
                    (self.root / name / TENSOR_FILE).stat()
                except OSError as error:
                    reason = error.strerror or str(error)
                    gone[name] = f"its file is gone ({reason}): is its disk still there?"
        return gone

    def add(self, folder: Path, name: str) -> AdapterLibrary:
        """Return the library with the adapter in `folder` copied in as `name`.

        The copy is checked in a hidden folder and appears in one step or not at all. A domain
        that has statistics alone keeps them.

        Raises:
            AdapterError: Unusable, or the name is taken.
        """
        waiting = waits_for_adapter(self.root / check_name(name), name)
        target = self.root / name if waiting else self._free(name)
        with _disk(f"add adapter {name!r}"), staging(self.root) as scratch:
            copy = scratch / name
            copy.mkdir()
            _copy_adapter(folder, copy, name=name)
            if waiting:
                shutil.copyfile(statistics_path(target, name), statistics_path(copy, name))
            self._contract.read(copy, name)
            self._contract.statistics(copy, name)
            _take_place(copy, target, aside=scratch / ".before" if waiting else None)
        _LOG.info("added adapter %s", name)
        return self.reload()

    def remove(self, name: str) -> AdapterLibrary:
        """Return the library without the adapter `name`; its folder is deleted.

        Raises:
            AdapterError: No such adapter.
        """
        folder = self._existing(name)
        with _disk(f"remove adapter {name!r}"), staging(self.root) as scratch:
            # Out of sight in one step; a symbolic link loses the link, never what it points to.
            folder.rename(scratch / name)
            if (scratch / name).is_symlink():
                (scratch / name).unlink()
        _LOG.info("removed adapter %s", name)
        return self.reload()

    def rename(self, old: str, new: str) -> AdapterLibrary:
        """Return the library with the adapter `old` called `new`.

        Raises:
            AdapterError: No such adapter, or the new name is taken or not allowed.
        """
        folder, target = self._existing(old), self._free(new)
        before = statistics_path(folder, old)
        with _disk(f"rename adapter {old!r}"):
            if before.is_file():
                # Both names exist for a moment: no crash leaves an adapter without centroid.
                shutil.copyfile(before, statistics_path(folder, new))
            folder.rename(target)
            statistics_path(target, old).unlink(missing_ok=True)
        _LOG.info("renamed adapter %s to %s", old, new)
        return self.reload()

    def reload(self) -> AdapterLibrary:
        """Return a new snapshot of the same folder."""
        return AdapterLibrary(self.root, self._contract, memory_bytes=self._memory.limit_bytes)

    def _scan(self) -> tuple[str, ...]:
        names = []
        for folder in sorted(self.root.iterdir()):
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            try:
                self._admit(folder)
                statistics = self._contract.statistics(folder, folder.name)
            except (AdapterError, OSError) as error:
                self._problems[folder.name] = str(error)
                _LOG.warning("adapter %s does not serve: %s", folder.name, error)
                continue
            names.append(folder.name)
            if statistics is not None:
                self._statistics.add(folder.name, statistics)
        return tuple(names)

    def _report_silence(self) -> None:
        silent = self._statistics.silent
        if silent:
            _LOG.info(
                "%d of %d domains have no covariance (%s): %s",
                len(silent),
                len(self.names),
                ", ".join((*silent[:_SHOWN], *("...",) * (len(silent) > _SHOWN))),
                "novelty takes the others' for theirs" if self.spread else "there is no novelty",
            )

    def _admit(self, folder: Path) -> None:
        """Check the adapter in `folder`; read it whole while there is room in memory."""
        tensors = folder / TENSOR_FILE
        if not tensors.is_file() or self._memory.has_room(tensors.stat().st_size):
            self._memory.keep(self._contract.read(folder, folder.name))
        else:
            self._contract.inspect(folder, folder.name)

    def _stack_centroids(self) -> Float64Array:
        stacked = np.zeros((len(self.names), self._contract.dim or 0), dtype=np.float64)
        for row, name in zip(stacked, self.names, strict=True):
            if name in self.statistics:
                row[:] = self.statistics[name].centroid
        stacked.setflags(write=False)
        return stacked

    def _free(self, name: str) -> Path:
        target = self.root / check_name(name)
        if target.exists() or target.is_symlink():
            raise AdapterError(
                f"adapter {name!r} is already there: remove it or take another name"
            )
        return target

    def _existing(self, name: str) -> Path:
        folder = self.root / name
        if name not in self.names and name not in self._problems:
            raise AdapterError(f"expected an adapter of {self.names!r}, got {name!r}")
        if not folder.is_dir():
            raise AdapterError(f"adapter {name!r} is gone from {str(self.root)!r}: reload")
        return folder


def _take_place(copy: Path, target: Path, *, aside: Path | None) -> None:
    """Put `copy` at `target`; what is there goes to `aside`, and comes back on failure."""
    if aside is not None:
        target.rename(aside)
    try:
        copy.rename(target)
    except OSError:
        if aside is not None:
            aside.rename(target)
        raise


@contextmanager
def _disk(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryError(f"cannot {action}: {error}: check space and rights") from error


def _copy_adapter(source: Path, target: Path, *, name: str) -> None:
    limits = {CONFIG_FILE: MAX_CONFIG_BYTES, TENSOR_FILE: MAX_TENSOR_BYTES}
    for file, limit in limits.items():
        _copy_bounded(source / file, target / file, limit=limit)
    for statistics in (statistics_path(source, name), statistics_path(source, source.name)):
        if statistics.is_file():
            _copy_bounded(statistics, statistics_path(target, name), limit=MAX_STATISTICS_BYTES)
            break
    copy_documents(source, target)


def _copy_bounded(source: Path, target: Path, *, limit: int) -> None:
    if not source.is_file():
        raise AdapterError(f"expected {source.name} in {str(source.parent)!r}, found none")
    size = source.stat().st_size
    if size > limit:
        raise AdapterError(f"{str(source)!r}: expected at most {limit} bytes, got {size}")
    shutil.copyfile(source, target)
