"""The navigator: frames in, an estimate of the domain out."""

from __future__ import annotations

import threading

from semla_ros.core.errors import AdapterMismatchError, ConfigError
from semla_ros.core.types import DomainEstimate, Float32Array, Frame
from semla_ros.navigator.distance import DISTANCES, CentroidBank, novelties
from semla_ros.navigator.encoder import ImageEncoder
from semla_ros.navigator.smoothing import EmbeddingFilter
from semla_ros.navigator.support import read_support


class Navigator:
    """Embeds frames, filters over sensor time, measures distances to the centroids.

    `embed` is slow, has no state and may run on any thread; `update` is fast and stateful.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        bank: CentroidBank,
        *,
        distance: str,
        time_constant_s: float,
        max_gap_s: float,
    ) -> None:
        """Make a navigator that has seen nothing.

        Args:
            encoder: Embeds images.
            bank: Centroids of the library.
            distance: A name of `DISTANCES`.
            time_constant_s: Of the filter; 0: none.
            max_gap_s: A longer gap between frames starts the filter anew.

        Raises:
            ConfigError: An unknown distance or impossible times.
            AdapterMismatchError: The centroids have another length than the embeddings.
        """
        self._encoder = encoder
        self._lock = threading.Lock()
        self._filter = EmbeddingFilter(time_constant_s, max_gap_s)
        self.replace_bank(bank, distance=distance)

    @property
    def encoder(self) -> ImageEncoder:
        """The image encoder."""
        return self._encoder

    @property
    def bank(self) -> CentroidBank:
        """The centroids in use."""
        return self._bank

    def embed(self, frame: Frame) -> Float32Array:
        """Return the embedding (D,) float32 of `frame`; slow, thread-safe, changes nothing.

        Raises:
            FrameError: The image has no finite embedding.
        """
        return self._encoder.encode(frame.rgb)

    def update(self, stamp_ns: int, embedding: Float32Array) -> DomainEstimate:
        """Return where the camera is after a frame.

        Args:
            stamp_ns: The frame's stamp; a step back starts the filter anew.
            embedding: What `embed` returned for it.
        """
        with self._lock:
            smoothed = self._filter.update(stamp_ns, embedding)
            bank, distance = self._bank, self._distance
        return DomainEstimate(
            stamp_ns=stamp_ns,
            embedding=smoothed,
            raw_embedding=embedding,
            names=bank.names,
            distances=DISTANCES[distance](smoothed, bank),
            raw_distances=DISTANCES[distance](embedding, bank),
            novelties=novelties(embedding, bank),
            alarm=bank.alarm,
        )

    read = staticmethod(read_support)

    def reset(self) -> None:
        """Forget the frames seen; the next one initialises the filter."""
        with self._lock:
            self._filter.reset()

    def replace_bank(self, bank: CentroidBank, *, distance: str) -> None:
        """Measure from now on with `distance` to the centroids of `bank`; the filter goes on.

        Raises:
            ConfigError: An unknown distance.
            AdapterMismatchError: The centroids have another length than the embeddings.
        """
        if distance not in DISTANCES:
            raise ConfigError(f"expected a distance of {tuple(DISTANCES)!r}, got {distance!r}")
        if bank.centroids.shape[1] != self._encoder.dim:
            raise AdapterMismatchError(
                f"expected centroids of length {self._encoder.dim} (encoder "
                f"{self._encoder.identity!r}), got {bank.centroids.shape[1]}"
            )
        with self._lock:
            self._bank, self._distance = bank, distance

    def set_filter(self, *, time_constant_s: float, max_gap_s: float) -> None:
        """Filter from now on with other times; what was seen stays.

        Raises:
            ConfigError: Impossible times.
        """
        EmbeddingFilter(time_constant_s, max_gap_s)
        with self._lock:
            self._filter.time_constant_s = time_constant_s
            self._filter.max_gap_s = max_gap_s
