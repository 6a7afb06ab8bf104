"""The adapters that are kept in memory: the most recently used ones, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from semla_ros.core.errors import LibraryError
from semla_ros.core.types import LoraAdapter

DEFAULT_BYTES = 512 * 2**20
"""Holds a hundred adapters of rank 8 of a ViT-B/16, thirty of a ViT-L/14."""


class AdapterMemory:
    """Adapters by name, the least recently used ones dropped; thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        """Keep up to `limit_bytes` of factors, and always the last adapter.

        Raises:
            LibraryError: Not above 0.
        """
        if limit_bytes < 1:
            raise LibraryError(
                f"expected a cache of at least 1 byte for adapters, got {limit_bytes!r}"
            )
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[str, LoraAdapter] = OrderedDict()
        self._bytes = 0
        self._full = False
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of the factors in memory."""
        return self._bytes

    def has_room(self, size: int) -> bool:
        """Return whether `size` bytes more fit; never again once an adapter had to be dropped."""
        return not self._full and self._bytes + size <= self.limit_bytes

    def holds(self, name: str) -> bool:
        """Return whether the adapter `name` is kept; that is no use of it."""
        return name in self._kept

    def peek(self, name: str) -> LoraAdapter | None:
        """Return the adapter `name` if it is kept; that is no use of it."""
        return self._kept.get(name)

    def get(self, name: str) -> LoraAdapter | None:
        """Return the adapter `name` if it is kept; it then counts as just used."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def keep(self, adapter: LoraAdapter) -> LoraAdapter:
        """Return `adapter`, kept from now on."""
        with self._lock:
            before = self._kept.pop(adapter.name, None)
            self._bytes += bytes_of(adapter) - (bytes_of(before) if before else 0)
            self._kept[adapter.name] = adapter
            while self._bytes > self.limit_bytes and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= bytes_of(dropped)
                self._full = True
        return adapter

    def clear(self) -> None:
        """Drop every adapter; the next use reads it again."""
        with self._lock:
            self._kept.clear()
            self._bytes, self._full = 0, False


def bytes_of(adapter: LoraAdapter) -> int:
    """Return the bytes of the factors of `adapter`."""
    return sum(layer.lora_a.nbytes + layer.lora_b.nbytes for layer in adapter.layers.values())
