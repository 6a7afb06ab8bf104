"""`<domain>_statistics.npz`: where a domain lies in the navigator's embedding space."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import AdapterError, SemlaError
from semla_ros.core.files.lfs_pointer import lfs_remedy
from semla_ros.core.files.npz_file import ArrayInfo, read_arrays
from semla_ros.core.novelty import EmbeddingSample
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.library.seal import STATISTICS_ENDING, read_seal, read_sealed

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys

CENTROID_KEY = "train_average_embedding"
MAX_DIM = 4096
"""Longest embedding; the largest image encoders in use have about 3,200 numbers."""
MAX_STATISTICS_BYTES = 160_000_000
MAX_SAMPLE = 256
"""Images whose embeddings a domain keeps, see `EmbeddingSample`."""
_MAX_NUMBER = 1e12
"""Beyond what any encoder or count gives, below what overflows where domains are pooled."""
_MAX_QUANTILES = 10_000
_MAX_NAME_BYTES = 4000
_KEYS = (
    CENTROID_KEY,
    "count",
    "covariance",
    "encoder",
    "quantile_levels",
    "quantiles",
    "sample",
    "sample_blocks",
    "shrinkage",
)


@dataclass(frozen=True, slots=True)
class DistanceQuantiles:
    """How far a domain's own training images lie from its centroid.

    Attributes:
        levels: (Q,) float64, ascending in [0, 1].
        distances: (Q,) float64, ascending.
    """

    levels: Float64Array
    distances: Float64Array

    def __post_init__(self) -> None:
        levels, distances = self.levels, self.distances
        if levels.ndim != 1 or levels.shape != distances.shape or not len(levels):
            raise AdapterError(
                f"expected as many distance quantiles as levels and at least one, got "
                f"{distances.shape} and {levels.shape}"
            )
        ascending = bool((np.diff(levels) > 0).all() and (np.diff(distances) >= 0).all())
        if not ascending or not (levels[0] >= 0 and levels[-1] <= 1 and distances[0] >= 0):
            raise AdapterError("expected ascending quantile levels in [0, 1] and distances >= 0")

    def at(self, level: float) -> float:
        """Return the distance below which the share `level` of the images lies."""
        return float(np.interp(level, self.levels, self.distances))


@dataclass(frozen=True, slots=True)
class DomainStatistics:
    """What is known of one domain's embeddings.

    Attributes:
        centroid: (D,) float32, mean of the raw (not normalised) embeddings.
        count: Images behind it, None where the file is silent.
        covariance: (D, D) float64 of the embeddings, or None.
        encoder: Identity of the image encoder that made them, None where the file is silent.
        quantiles: Distances of the domain's own images to the centroid, or None.
        shrinkage: Share of `covariance` that is not measured but a multiple of the identity, in
            [0, 1]; None where the file is silent.
        sample: Some of the images in blocks that can be held out, or None.
    """

    centroid: Float32Array
    count: int | None = None
    covariance: Float64Array | None = None
    encoder: str | None = None
    quantiles: DistanceQuantiles | None = None
    shrinkage: float | None = None
    sample: EmbeddingSample | None = None

    def __post_init__(self) -> None:
        shape = self.centroid.shape
        if self.centroid.ndim != 1 or not 1 <= shape[0] <= MAX_DIM:
            raise AdapterError(f"expected a centroid (D,), D up to {MAX_DIM}, got {shape}")
        if not np.isfinite(self.centroid).all():
            raise AdapterError("expected a finite centroid, got NaN or infinity: compute it again")
        if self.count is not None and self.count < 1:
            raise AdapterError(f"expected a count of at least 1 image, got {self.count!r}")
        cov = self.covariance
        if cov is not None and (cov.shape != shape * 2 or not np.isfinite(cov).all()):
            raise AdapterError(f"expected a finite covariance {shape * 2}, got {cov.shape}")
        lean = 0.0 if cov is None else float(np.abs(cov - cov.T).max())
        if cov is not None and (cov.diagonal().min() < 0 or lean > 1e-4 * np.abs(cov).max()):
            raise AdapterError("expected a covariance: symmetric, no negative variance")
        if self.shrinkage is not None and not 0 <= self.shrinkage <= 1:
            raise AdapterError(f"expected a shrinkage from 0 to 1, got {self.shrinkage!r}")
        sample = self.sample
        if sample is not None and sample.embeddings.shape[1:] != shape:
            raise AdapterError(
                f"expected a sample of embeddings (R, {shape[0]}), got {sample.embeddings.shape}"
            )


def statistics_path(folder: Path, name: str) -> Path:
    """Return where the statistics of adapter `name` lie."""
    return folder / f"{name}{STATISTICS_ENDING}"


def read_statistics(
    folder: Path, name: str, *, trusted: TrustedKeys | None = None
) -> DomainStatistics:
    """Return the statistics of adapter `name` in `folder`; unknown keys are ignored.

    Args:
        folder: Of the adapter.
        name: Its name.
        trusted: Keys of which one must have signed the seal; None: signatures are not asked for.

    Raises:
        AdapterError: Missing, unsigned, damaged, not what was sealed, too large, pickled, or not
            finite.
    """
    path = statistics_path(folder, name)
    where = f"{folder.name}/{path.name}"
    if not path.is_file():
        raise AdapterError(
            f"expected the centroid file {where}, found none: generate the domain's statistics"
        )
    try:
        seal = read_seal(folder, trusted=trusted)
        content = read_sealed(path, seal, max_bytes=MAX_STATISTICS_BYTES)
        return _statistics_from(content)
    except SemlaError as error:
        raise AdapterError(f"{where}: {error}") from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{where}: damaged ({error}): generate it again") from error


def _statistics_from(content: bytes) -> DomainStatistics:
    if remedy := lfs_remedy(content):
        raise AdapterError(remedy)
    return _statistics_from_arrays(
        read_arrays(io.BytesIO(content), _KEYS, max_bytes=MAX_STATISTICS_BYTES, check=_check_sizes)
    )


def _check_sizes(arrays: Mapping[str, ArrayInfo]) -> None:
    """Refuse arrays that do not go together; none of their values has been read."""
    if CENTROID_KEY not in arrays:
        raise AdapterError(f"expected the array {CENTROID_KEY!r}, got {sorted(arrays)!r}")
    centroid = arrays[CENTROID_KEY].shape
    dim = math.prod(centroid)
    if centroid not in ((dim,), (1, dim)) or not 1 <= dim <= MAX_DIM:
        raise AdapterError(f"expected a centroid (D,), D up to {MAX_DIM}, got {centroid}")
    most = {
        "covariance": dim * dim,
        "sample": 2 * dim * MAX_SAMPLE,
        "sample_blocks": 2 * MAX_SAMPLE,
        "quantiles": _MAX_QUANTILES,
        "quantile_levels": _MAX_QUANTILES,
    }
    for key, info in arrays.items():
        wanted = most.get(key, dim)
        if math.prod(info.shape) > wanted or (
            info.dtype.kind == "U" and info.nbytes > _MAX_NAME_BYTES
        ):
            raise AdapterError(
                f"expected {key!r} to have at most {wanted} values beside a centroid of {dim}, "
                f"got {info.shape} of {info.dtype}"
            )


def _statistics_from_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> DomainStatistics:
    numbers = {key: _floats(key, array) for key, array in arrays.items() if key != "encoder"}
    centroid = numbers[CENTROID_KEY]
    if centroid.ndim == 2 and centroid.shape[0] == 1:
        centroid = centroid[0]
    quantiles = None
    if "quantiles" in numbers and "quantile_levels" in numbers:
        quantiles = DistanceQuantiles(numbers["quantile_levels"], numbers["quantiles"])
    return DomainStatistics(
        centroid=centroid.astype(np.float32),
        count=int(numbers["count"].item()) if "count" in numbers else None,
        covariance=numbers.get("covariance"),
        encoder=_text(arrays["encoder"]) if "encoder" in arrays else None,
        quantiles=quantiles,
        shrinkage=float(numbers["shrinkage"].item()) if "shrinkage" in numbers else None,
        sample=_sample(numbers) if "sample" in numbers else None,
    )


def _sample(numbers: Mapping[str, Float64Array]) -> EmbeddingSample:
    rows = numbers["sample"]
    if rows.ndim != 2 or not 1 <= len(rows) <= MAX_SAMPLE:
        raise AdapterError(f"expected a sample (R, D), R from 1 to {MAX_SAMPLE}, got {rows.shape}")
    blocks = numbers.get("sample_blocks", np.zeros(0))
    if blocks.shape != rows.shape[:1] or not ((blocks >= 0) & (blocks < MAX_SAMPLE)).all():
        raise AdapterError(
            f"expected 'sample_blocks' ({len(rows)},) in 0 to {MAX_SAMPLE - 1}, got {blocks.shape}"
        )
    return EmbeddingSample(rows.astype(np.float32), blocks.astype(np.int64), len(rows))


def _floats(key: str, array: npt.NDArray[np.generic]) -> Float64Array:
    if array.dtype.kind not in "fiu":
        raise AdapterError(f"expected {key!r} as numbers, got {array.dtype}")
    numbers = array.astype(np.float64)
    if key != "sample_blocks" and not (np.abs(numbers) <= _MAX_NUMBER).all():
        raise AdapterError(
            f"expected {key!r} finite and within {_MAX_NUMBER:g}, got NaN, infinity or more: "
            "compute it again"
        )
    return numbers


def _text(array: npt.NDArray[np.generic]) -> str:
    if array.dtype.kind != "U" or array.size != 1:
        raise AdapterError(f"expected 'encoder' as one text, got {array.dtype} {array.shape}")
    return str(array.item())
