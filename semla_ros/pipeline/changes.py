"""Settings that come from other threads, in force from the next frame."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.config import Config
from semla_ros.core.live_parameters import check_live
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.library_view import LibraryView, check_excluded
from semla_ros.pipeline.settings import LiveSettings


class LiveChanges:
    """Checks new settings where they come from and keeps them until a frame takes them over."""

    def __init__(
        self, settings: LiveSettings, defaults: AdaptationDefaults, *, observes: bool
    ) -> None:
        """Wait for changes.

        Args:
            settings: In force.
            defaults: The bundle's.
            observes: Whether there is a navigator, whose distances a change may concern.
        """
        self._newest = settings
        self._defaults = defaults
        self._observes = observes
        self._waiting: queue.SimpleQueue[tuple[LiveSettings, LibraryView | None]] = (
            queue.SimpleQueue()
        )

    def put(self, config: Config, *, library: AdapterLibrary) -> None:
        """Have `config` taken over before the next frame.

        Raises:
            ConfigError: A read-only parameter differs, or an adapter that `library` does not have
                is newly excluded.
            LibraryError: The library has not what the new distance needs.
        """
        before = self._newest
        check_live(before.config, config)
        check_excluded(config.excluded - before.config.excluded, library)
        settings, view = LiveSettings.of(config, self._defaults), None
        if self._observes and settings.distance != before.distance:
            view = LibraryView.of(library, distance=settings.distance)
        self._waiting.put((settings, view))
        self._newest = settings

    def take(self) -> Iterator[tuple[LiveSettings, LibraryView | None]]:
        """Yield what came since the last call, oldest first; only on the frame loop."""
        while True:
            try:
                yield self._waiting.get_nowait()
            except queue.Empty:
                return
