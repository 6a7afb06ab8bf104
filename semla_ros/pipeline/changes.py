"""Settings that come from other threads, in force from the next frame."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import replace
from typing import NamedTuple

from semla_ros.core.config import Config
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.live_parameters import check_live
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.adaptation import Adaptation
from semla_ros.pipeline.library_view import LibraryView, check_distance, check_excluded, fits
from semla_ros.pipeline.parts import PipelineParts
from semla_ros.pipeline.settings import LiveSettings

_LOG = logging.getLogger(__name__)

Change = tuple[LiveSettings, LibraryView | None]
"""New settings, and the library as their distance needs it where that is another one."""


class _Job(NamedTuple):
    """What is prepared for another distance."""

    library: AdapterLibrary
    distance: str
    view: Future[LibraryView]


class LiveChanges:
    """Checks new settings where they come from and keeps the newest until a frame takes them.

    A distance that must be prepared is, aside; until then the one before is in force beside the
    other new settings. So it is while a library is being read: that one is measured as it was.
    """

    def __init__(self, settings: LiveSettings, parts: PipelineParts) -> None:
        """Wait for changes; what takes long is prepared where the library is read.

        Args:
            settings: In force.
            parts: Of the pipeline.
        """
        self._newest = self._taken = self._held = settings
        self._defaults = parts.bundle.manifest.defaults
        self._executor = parts.executors[0]
        self._observes = parts.observer is not None
        self._job: _Job | None = None

    def put(self, config: Config, *, library: AdapterLibrary) -> None:
        """Have `config` taken over before the next frame; quick.

        Raises:
            ConfigError: A read-only parameter differs, or an adapter that `library` does not have
                is newly excluded.
            LibraryError: The library has not what the new distance needs.
        """
        before = self._newest
        check_live(before.config, config)
        check_excluded(config.excluded - before.config.excluded, library)
        settings = LiveSettings.of(config, self._defaults)
        if self._observes and settings.distance != before.distance:
            check_distance(settings.distance, library)
        self._newest = settings

    def take(self, adaptation: Adaptation, *, reloading: bool) -> Change | None:
        """Return what is in force from now on, None: what was; only on the frame loop.

        Args:
            adaptation: Which has the settings so far.
            reloading: Whether another library is on its way to it.
        """
        newest, now = self._newest, adaptation.settings
        if newest is self._taken:
            return None
        if not self._observes or newest.distance == now.distance:
            self._taken = newest
            self._drop()
            return newest, None
        view = None if reloading else self._prepared(newest, adaptation)
        if view is not None:
            self._taken = newest
            return newest, view
        if newest is self._held:
            return None
        self._held = newest
        held = replace(newest.config, distance=now.config.distance)
        return LiveSettings.of(held, self._defaults), None

    def _prepared(self, settings: LiveSettings, adaptation: Adaptation) -> LibraryView | None:
        """Return the library in force as `settings` need it once it is prepared."""
        job, wanted = self._job, (adaptation.library, settings.distance)
        if job is None or job[:2] != wanted:
            self._drop()
            job = self._job = _Job(*wanted, self._prepare(settings.distance, adaptation))
        if not job.view.done():
            return None
        self._job = None
        try:
            return job.view.result()
        except Exception as error:  # noqa: BLE001  worker boundary: the distance before serves
            _LOG.error("distance %r is not in force: %s", settings.distance, error)
            self._taken = settings
            return None

    def _prepare(self, distance: str, adaptation: Adaptation) -> Future[LibraryView]:
        observer = adaptation.observer
        known = None if observer is None else observer.navigator.bank
        at_once = known is not None and fits(known, distance)
        executor = InlineExecutor() if at_once else self._executor
        return executor.submit(LibraryView.of, adaptation.library, distance=distance, known=known)

    def _drop(self) -> None:
        """Let what is being prepared be: nobody wants it any more."""
        if self._job is not None:
            self._job.view.cancel()
            self._job = None
