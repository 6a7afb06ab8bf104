"""What an adapter must fit to serve, checked by its header or by every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.bundle import GraphWeight
from semla_ros.core.errors import AdapterError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.captions import read_captions
from semla_ros.library.compatibility import check_adapter, check_statistics, with_layer_names
from semla_ros.library.seal import ACCEPT, REFUSE, SEAL_FILE
from semla_ros.library.statistics import DomainStatistics, read_statistics
from semla_ros.library.storage import inspect_adapter, read_adapter

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys


@dataclass(frozen=True, slots=True)
class LibraryContract:
    """What an adapter must fit to serve.

    Attributes:
        layers: Adaptable layers by name.
        base_model: Identity of the base weights.
        base_names: Other names of the base, see `Manifest`.
        encoder: Identity of the navigator's encoder, None where any will do.
        dim: Length of a centroid, None without a navigator: centroids are then not read.
        unsealed: Of `UNSEALED_POLICIES`: whether adapters without a seal serve.
        trusted: Keys of which one must have signed a seal; None: signatures are not asked for.
        use_generated: Whether adapters made from words serve, see `generated`.
    """

    layers: Mapping[str, GraphWeight]
    base_model: str
    encoder: str | None
    dim: int | None
    unsealed: str = ACCEPT
    trusted: TrustedKeys | None = None
    base_names: tuple[str, ...] = ()
    use_generated: bool = True

    def read(self, folder: Path, name: str) -> LoraAdapter:
        """Return the adapter `name` in `folder`, read and checked.

        Raises:
            AdapterError: It does not serve.
        """
        self._require_seal(folder, name)
        adapter = read_adapter(folder, name=name, trusted=self.trusted)
        return self._checked(adapter)

    def inspect(self, folder: Path, name: str) -> None:
        """Return if configuration, names and shapes fit; values are not read.

        Whether unknown modules are inert, values finite and the bytes of the tensors those that
        were sealed shows when the adapter is read.

        Raises:
            AdapterError: It does not serve.
        """
        self._require_seal(folder, name)
        adapter = inspect_adapter(folder, name=name, trusted=self.trusted)
        named = with_layer_names(adapter, self.layers)
        known = {m: layer for m, layer in named.layers.items() if m in self.layers}
        self._checked(replace(named, layers=known))

    def _checked(self, adapter: LoraAdapter) -> LoraAdapter:
        named = with_layer_names(adapter, self.layers)
        base, others = self.base_model, self.base_names
        check_adapter(named, self.layers, base_model=base, base_names=others)
        return named

    def statistics(self, folder: Path, name: str) -> DomainStatistics | None:
        """Return the checked statistics of `name`, None without a navigator.

        Raises:
            AdapterError: Missing, damaged, or of another encoder.
        """
        if self.dim is None:
            return None
        statistics = read_statistics(folder, name, trusted=self.trusted)
        check_statistics(statistics, name, encoder=self.encoder, dim=self.dim)
        return statistics

    def captions(self, folder: Path) -> tuple[str, ...]:
        """Return the sentences that describe the domain in `folder`, none without any.

        Raises:
            AdapterError: Damaged, or not what was sealed.
        """
        return read_captions(folder, trusted=self.trusted)

    def _require_seal(self, folder: Path, name: str) -> None:
        if self.unsealed == REFUSE and not (folder / SEAL_FILE).is_file():
            raise AdapterError(
                f"adapter {name!r} is unsealed and unsealed_adapters is {REFUSE!r}: "
                f"semla library seal {folder}, once you trust it"
            )
