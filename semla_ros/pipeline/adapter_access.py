"""Getting adapters out of a library whose disk may go away and come back while it is in use."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from semla_ros.core.errors import AdapterError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.retry import RetryWait

_LOG = logging.getLogger(__name__)

_SHOWN = 8
"""Adapters named for each reason in one line."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an adapter does not serve.

    Attributes:
        reason: In words.
        gone: Its files are not there, so nothing was read.
        refused: It was read and must not serve; only another access asks again.
    """

    reason: str
    gone: bool = False
    refused: bool = False


class AdapterAccess:
    """One library, and which of its adapters cannot be loaded at the moment; thread-safe.

    Attributes:
        library: Where adapters come from.
        number: Different for each access: equal names mean equal weights under one number.
    """

    def __init__(self, library: AdapterLibrary) -> None:
        """Take every adapter for loadable until it fails."""
        self.library = library
        self.number = next(_numbers)
        self._failing: Mapping[str, _Failure] = {}
        self._lock = threading.Lock()
        self._wait = RetryWait()
        self._trying = False

    @property
    def failing(self) -> Mapping[str, str]:
        """Adapters that cannot be loaded at the moment or were refused, with the reason."""
        return MappingProxyType({name: f.reason for name, f in self._failing.items()})

    @property
    def retried(self) -> tuple[str, ...]:
        """The failing ones that are tried again: all that were not refused."""
        return tuple(name for name, failure in self._failing.items() if not failure.refused)

    def get(self, name: str, *, even_refused: bool = False) -> LoraAdapter:
        """Return the adapter `name`; remember whether it could be had.

        Where one fails, those whose files are gone too are known to fail at once.

        Raises:
            AdapterError: It cannot be loaded, or was refused and not `even_refused` is wanted.
        """
        known = self._failing.get(name)
        if known is not None and known.refused and not even_refused:
            raise AdapterError(f"adapter {name!r} cannot serve: {known.reason}")
        try:
            adapter = self.library.get(name)
        except AdapterError as error:
            gone = {n: _Failure(why, gone=True) for n, why in self.library.gone().items()}
            self._lost({name: _Failure(str(error)), **gone})
            raise
        if known is None or not known.refused:
            self._found((name,))
        return adapter

    def refuse(self, names: Iterable[str], reason: str) -> None:
        """Let the adapters `names` serve no more: they failed their proof."""
        with self._lock:
            refused = {name: _Failure(reason, refused=True) for name in names}
            self._failing = {**self._failing, **refused}

    def due(self, time_ns: int) -> bool:
        """Return whether `retry` is to be called now, by stream time in ns."""
        with self._lock:
            if self._trying or all(f.refused for f in self._failing.values()):
                return False
            self._trying = self._wait.over(time_ns)
            return self._trying

    def retry(self) -> None:
        """Try the failing adapters; in the background.

        One that was gone may serve again as soon as its files are there: the swap that wants it
        reads it. One that was read in vain is read again.
        """
        try:
            gone = self.library.gone()
            before = self._failing
            after = {name: self._tried(name, before[name], gone) for name in before}
            self._lost({name: failure for name, failure in after.items() if failure})
            self._found([name for name, failure in after.items() if not failure])
        except Exception:  # noqa: BLE001  worker boundary: it is tried again
            _LOG.exception("unexpected failure while trying adapters again")
        finally:
            self._trying = False

    def _tried(self, name: str, before: _Failure, gone: Mapping[str, str]) -> _Failure | None:
        """Return why `name` cannot be loaded now, None: it can, or the next swap will tell."""
        if before.refused:
            return before
        if name in gone:
            return _Failure(gone[name], gone=True)
        if before.gone:
            return None
        try:
            self.library.get(name)
        except AdapterError as error:
            return _Failure(str(error))
        return None

    def _lost(self, failures: Mapping[str, _Failure]) -> None:
        with self._lock:
            before = self._failing
            refused = {name for name, failure in before.items() if failure.refused}
            news = {n: f for n, f in failures.items() if before.get(n) != f and n not in refused}
            if not news.keys() <= self._failing.keys():
                self._wait = RetryWait()
            self._failing = {**self._failing, **news}
        if news:
            reasons = {name: failure.reason for name, failure in news.items()}
            _LOG.error(
                "%d adapters cannot be loaded, the others serve until they can: %s",
                len(news),
                by_reason(reasons),
            )

    def _found(self, names: Iterable[str]) -> None:
        with self._lock:
            back = [name for name in names if name in self._failing]
            self._failing = {n: f for n, f in self._failing.items() if n not in back}
        if back:
            _LOG.info("adapters that can be loaded again: %s", _some(back))


def by_reason(reasons: Mapping[str, str]) -> str:
    """Return one line of adapters with the reason, those that share one together."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    told = [f"{_some(these)}: {reason}" for reason, these in list(names.items())[:_SHOWN]]
    if len(names) > _SHOWN:
        told.append(f"and for {len(names) - _SHOWN} more reasons others")
    return "; ".join(told)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join((*names[:_SHOWN], *((f"{more} more",) if more > 0 else ())))
