"""The adapters on disk with their centroids: a snapshot that never changes under its users."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from semla_ros.bundle import GraphWeight, ModelBundle
from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.core.types import Float64Array, LoraAdapter
from semla_ros.library.contract import LibraryContract
from semla_ros.library.generated import is_generated
from semla_ros.library.memory import DEFAULT_BYTES, AdapterMemory
from semla_ros.library.reports import report_silence, report_unsealed
from semla_ros.library.seal import ACCEPT, SEAL_FILE, TENSOR_FILE
from semla_ros.library.spread import PooledSpread, StatisticsStore
from semla_ros.library.statistics import DomainStatistics
from semla_ros.library.unchanged import Stamp, stamp_of

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys

__all__ = ["AdapterLibrary", "LibraryContract"]

_LOG = logging.getLogger(__name__)


class AdapterLibrary:
    """A snapshot of a library folder; reading is thread-safe.

    `reload` returns the next one; this one keeps answering as before for what it has read, so that
    a running swap never sees half a change.

    Attributes:
        root: The folder.
        contract: What an adapter must fit to serve.
        names: The adapters that serve.
        centroids: (K, D) float64, theirs; zeros without a navigator.
        captions: Adapter -> sentences that describe its domain; without those that have none.
    """

    def __init__(
        self,
        root: Path,
        contract: LibraryContract,
        *,
        memory_bytes: int = DEFAULT_BYTES,
        before: AdapterLibrary | None = None,
    ) -> None:
        """Read the folder; of what is unchanged since `before`, a snapshot of it, nothing."""
        if not root.is_dir():
            raise LibraryError(f"expected a library folder, got {str(root)!r}: create it")
        self.root = root
        self.contract = contract
        self._memory = AdapterMemory(memory_bytes)
        self._statistics = StatisticsStore()
        self._problems: dict[str, str] = {}
        self._stamps: dict[str, Stamp | None] = {}
        self._captions: dict[str, tuple[str, ...]] = {}
        try:
            self.names = self._scan(before)
            self._unsealed = tuple(n for n in self.names if not (root / n / SEAL_FILE).exists())
            self._generated = tuple(n for n in self.names if is_generated(root / n))
        except OSError as error:
            raise LibraryError(
                f"cannot read the library {str(root)!r}: {error}: check space and rights"
            ) from error
        report_unsealed(self._unsealed, of=len(self.names))
        shared = before if before and before._statistics is self._statistics else None
        self.captions: Mapping[str, tuple[str, ...]] = {
            name: self._captions[name] for name in self.names if self._captions[name]
        }
        self.centroids: Float64Array = shared.centroids if shared else self._stack_centroids()

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
        unsealed: str = ACCEPT,
        trusted: TrustedKeys | None = None,
        base_names: Sequence[str] = (),
        use_generated: bool = True,
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
            unsealed: Of `UNSEALED_POLICIES`: whether adapters without a seal serve.
            trusted: Keys of which one must have signed a seal; None: signatures are not asked for.
            base_names: Other names of the base, see `Manifest`.
            use_generated: Whether adapters made from words serve.

        Raises:
            LibraryError: No such folder.
        """
        by_name = {layer.name: layer for layer in layers}
        contract = LibraryContract(
            by_name,
            base_model,
            encoder,
            dim,
            unsealed=unsealed,
            trusted=trusted,
            base_names=tuple(base_names),
            use_generated=use_generated,
        )
        return cls(root, contract, memory_bytes=memory_bytes)

    @classmethod
    def of(
        cls,
        bundle: ModelBundle,
        *,
        root: Path | None = None,
        memory_bytes: int = DEFAULT_BYTES,
        unsealed: str = ACCEPT,
        trusted: TrustedKeys | None = None,
        use_generated: bool = True,
    ) -> AdapterLibrary:
        """Return the library of `bundle`; `root` is another folder for it, the rest as in `open`.

        Raises:
            LibraryError: No such folder.
        """
        manifest, navigator = bundle.manifest, bundle.manifest.navigator
        return cls.open(
            bundle.library if root is None else root,
            layers=manifest.layers,
            base_model=manifest.base_model,
            encoder=navigator.identity if navigator else None,
            dim=navigator.dim if navigator else None,
            memory_bytes=memory_bytes,
            unsealed=unsealed,
            trusted=trusted,
            base_names=manifest.base_names,
            use_generated=use_generated,
        )

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
    def unsealed(self) -> tuple[str, ...]:
        """Adapters that serve although nobody has vouched for their bytes, see `seal`."""
        return self._unsealed

    @property
    def generated(self) -> tuple[str, ...]:
        """Adapters that serve although no image of their domain was ever seen."""
        return self._generated

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
        if (kept := self._memory.get(name)) is not None:
            return kept
        return self._memory.keep(self.contract.read(self.root / name, name))

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

    def reload(self) -> AdapterLibrary:
        """Return a new snapshot of the folder; what is `unchanged` is shared with this one."""
        return AdapterLibrary(
            self.root, self.contract, memory_bytes=self._memory.limit_bytes, before=self
        )

    def _scan(self, before: AdapterLibrary | None) -> tuple[str, ...]:
        """Return the adapters that serve."""
        found: dict[str, bool] = {}
        for folder in sorted(self.root.iterdir()):
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            if not self.contract.use_generated and is_generated(folder):
                continue
            self._stamps[folder.name] = stamp_of(folder)
            kept = before is not None and self._take_over(before, folder.name)
            if kept or self._serves(folder.name, partial(self._admit, folder)):
                found[folder.name] = kept
        if before is not None and all(found.values()) and tuple(found) == before.names:
            self._statistics = before._statistics
            return before.names
        for name, kept in found.items():
            old = before._statistics if before is not None and kept else None
            self._serves(name, partial(self._add_statistics, name, old))
        names = tuple(name for name in found if name not in self._problems)
        report_silence(self._statistics, of=len(names))
        return names

    def _serves(self, name: str, check: Callable[[], None]) -> bool:
        """Return whether the adapter `name` passes `check`; why not goes to `problems`."""
        try:
            check()
        except (AdapterError, OSError) as error:
            self._problems[name] = str(error)
            _LOG.warning("adapter %s does not serve: %s", name, error)
            return False
        return True

    def _take_over(self, before: AdapterLibrary, name: str) -> bool:
        """Return whether `name` served `before` and lies there unchanged; share what was read."""
        stamp = self._stamps[name]
        if stamp is None or name not in before.names or before._stamps[name] != stamp:
            return False
        if (adapter := before._memory.peek(name)) is not None:
            self._memory.keep(adapter)
        self._captions[name] = before._captions[name]
        return True

    def _add_statistics(self, name: str, known: StatisticsStore | None) -> None:
        whole = known.whole(name) if known is not None else None
        statistics = whole or self.contract.statistics(self.root / name, name)
        if statistics is not None:
            self._statistics.add(name, statistics)

    def _admit(self, folder: Path) -> None:
        """Check the adapter in `folder`; read it whole while there is room in memory."""
        self._captions[folder.name] = self.contract.captions(folder)
        tensors = folder / TENSOR_FILE
        if not tensors.is_file() or self._memory.has_room(tensors.stat().st_size):
            self._memory.keep(self.contract.read(folder, folder.name))
        else:
            self.contract.inspect(folder, folder.name)

    def _stack_centroids(self) -> Float64Array:
        stacked = np.zeros((len(self.names), self.contract.dim or 0), dtype=np.float64)
        for row, name in zip(stacked, self.names, strict=True):
            if name in self.statistics:
                row[:] = self.statistics[name].centroid
        stacked.setflags(write=False)
        return stacked
