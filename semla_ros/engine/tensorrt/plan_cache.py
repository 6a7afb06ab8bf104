"""Plans on disk: written whole or not at all, believed only when everything fits.

<key>.plan     what TensorRT deserialises
<key>.json     facts of the key, sha256 and size of the plan, refit map, golden outputs
timing.cache   what the builder measured, kept between builds
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.engine.tensorrt.plan_key import PlanIdentity
from semla_ros.errors import EngineError, SemlaError
from semla_ros.structured_text import from_json
from semla_ros.types import Float32Array

_LOG = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 8 * 2**30
MAX_SIDECAR_BYTES = 64 * 2**20
TIMING_FILE = "timing.cache"
LEFTOVER_S = 3600.0
"""Writing a plan and its sidecar takes seconds; what is not whole after this never will be."""


@dataclass(frozen=True, slots=True)
class Golden:
    """What the reference runtime said about the probe with one set of weights.

    Attributes:
        weights: Which weights: `base` or `nudged`.
        sample: (n,) float32, every `stride`-th logit, flattened.
        stride: See `sample`.
    """

    weights: str
    sample: Float32Array
    stride: int


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """What is known of a plan.

    Attributes:
        facts: `PlanIdentity.facts`.
        refit: Names of the weights that must be refittable, or inputs, in this order.
        goldens: Outputs of the reference.
        sha256, nbytes: Of the plan.
    """

    facts: Mapping[str, Any]
    refit: tuple[str, ...]
    goldens: tuple[Golden, ...]
    sha256: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class CachedPlan:
    """A plan that may be believed, in memory: a slot can be made anew from it at any time."""

    content: bytes
    record: PlanRecord


def default_folder() -> Path:
    """Return the folder for plans: `$XDG_CACHE_HOME` or `~/.cache`, `semla_ros/tensorrt`."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "semla_ros" / "tensorrt"


class PlanCache:
    """A folder of plans of bounded size; several processes may use it at once."""

    def __init__(self, folder: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Use `folder`, which need not exist.

        Args:
            folder: Where plans lie.
            max_bytes: The plans used longest ago go when there are more bytes than this.
        """
        self.folder = folder
        self._max_bytes = max_bytes

    def load(self, identity: PlanIdentity) -> CachedPlan | None:
        """Return the plan of `identity`, None where there is none that can be believed.

        A plan that does not fit its sidecar is removed, so that it is built again.
        """
        plan, sidecar = self._paths(identity.key)
        if not sidecar.is_file() or not plan.is_file():
            return None
        try:
            record = self._read(sidecar)
            content = plan.read_bytes() if plan.stat().st_size == record.nbytes else b""
            problem = _problem(record, identity, content)
        except (OSError, ValueError, LookupError, TypeError) as error:
            problem, content, record = f"unreadable: {error}", b"", None
        if problem or record is None:
            _LOG.warning("plan %s… is not used: %s", identity.key[:12], problem)
            self.drop(identity)
            return None
        with contextlib.suppress(OSError):
            os.utime(sidecar)
        return CachedPlan(content, record)

    def store(
        self,
        identity: PlanIdentity,
        content: Any,  # noqa: ANN401  bytes, or TensorRT's IHostMemory, which is not copied
        *,
        refit: tuple[str, ...],
        goldens: tuple[Golden, ...],
    ) -> CachedPlan:
        """Write the plan of `identity` and return it as `load` would.

        Args:
            identity: What it is.
            content: The plan; anything with the buffer protocol.
            refit: Names of the weights.
            goldens: Outputs of the reference.

        Raises:
            EngineError: The folder cannot be written.
        """
        plan, sidecar = self._paths(identity.key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(plan, content)
            written = plan.read_bytes()
            record = PlanRecord(
                facts=json.loads(json.dumps(identity.facts)),
                refit=refit,
                goldens=goldens,
                sha256=hashlib.sha256(written).hexdigest(),
                nbytes=len(written),
            )
            _replace(sidecar, json.dumps(_to_json(record), indent=1).encode())
            self._sweep(before=plan.stat().st_mtime - LEFTOVER_S)
            self._evict(keep=identity.key)
            return CachedPlan(written, record)
        except OSError as error:
            raise EngineError(
                f"the plan cannot be kept in {str(self.folder)!r}: {error}: free some space or "
                "choose another folder"
            ) from error

    def drop(self, identity: PlanIdentity) -> None:
        """Remove the plan of `identity`, sidecar first; one that is not there is fine."""
        plan, sidecar = self._paths(identity.key)
        for path in (sidecar, plan):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def identities(self) -> tuple[PlanIdentity, ...]:
        """Return what every plan of this version is, the newest build first."""
        found: list[tuple[int, PlanIdentity]] = []
        for sidecar in self._sidecars():
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, SemlaError):
                built = sidecar.with_suffix(".plan").stat().st_mtime_ns
                found.append((built, PlanIdentity.from_facts(self._read(sidecar).facts)))
        return tuple(identity for _, identity in sorted(found, key=lambda x: x[0], reverse=True))

    def timing(self) -> bytes:
        """Return the builder's timing cache, empty where there is none."""
        try:
            return (self.folder / TIMING_FILE).read_bytes()
        except OSError:
            return b""

    def store_timing(self, content: Any) -> None:  # noqa: ANN401  IHostMemory
        """Keep the builder's timing cache; a failure costs time later and nothing else."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(self.folder / TIMING_FILE, content)

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.plan", self.folder / f"{key}.json"

    def _sidecars(self) -> list[Path]:
        """Return the sidecars, longest unused first; another process may remove some meanwhile."""
        used: dict[Path, int] = {}
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                used[path] = path.stat().st_mtime_ns
        return sorted(used, key=lambda path: used[path])

    def _read(self, sidecar: Path) -> PlanRecord:
        if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
            raise ValueError(f"sidecar over {MAX_SIDECAR_BYTES} bytes")
        return _from_json(from_json(sidecar.read_bytes()))

    def _sweep(self, *, before: float) -> None:
        """Remove what crashes left: unfinished files, plans without a sidecar; as far as it may.

        Args:
            before: Younger ones stay (time of modification in s): they may be being written.
        """
        unfinished = self.folder.glob(".*.tmp")
        halves = (p for p in self.folder.glob("*.plan") if not p.with_suffix(".json").is_file())
        for path in (*unfinished, *halves):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _evict(self, *, keep: str) -> None:
        sizes: dict[Path, int] = {}
        for path in self._sidecars():
            with contextlib.suppress(FileNotFoundError):
                sizes[path] = path.with_suffix(".plan").stat().st_size
        total = sum(sizes.values())
        for sidecar, size in sizes.items():
            if total <= self._max_bytes:
                return
            if sidecar.stem != keep:
                _LOG.info("removing plan %s… to make room", sidecar.stem[:12])
                sidecar.unlink(missing_ok=True)
                sidecar.with_suffix(".plan").unlink(missing_ok=True)
                total -= size


def _problem(record: PlanRecord, identity: PlanIdentity, content: bytes) -> str:
    """Return why `content` is not that of `identity`, empty if it is."""
    if record.facts != json.loads(json.dumps(identity.facts)):
        return "its sidecar is of another plan"
    if len(content) != record.nbytes or hashlib.sha256(content).hexdigest() != record.sha256:
        return "its bytes are not those that were written"
    return ""


def _replace(path: Path, content: Any) -> None:  # noqa: ANN401  see PlanCache.store
    """Write `path` so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _to_json(record: PlanRecord) -> dict[str, Any]:
    return {
        "facts": dict(record.facts),
        "sha256": record.sha256,
        "nbytes": record.nbytes,
        "refit": list(record.refit),
        "goldens": [
            {
                "weights": golden.weights,
                "stride": golden.stride,
                "sample": base64.b64encode(golden.sample.astype("<f4").tobytes()).decode(),
            }
            for golden in record.goldens
        ],
    }


def _from_json(data: Mapping[str, Any]) -> PlanRecord:
    goldens = tuple(
        Golden(
            weights=str(each["weights"]),
            sample=np.frombuffer(base64.b64decode(each["sample"]), "<f4").astype(np.float32),
            stride=int(each["stride"]),
        )
        for each in data["goldens"]
    )
    return PlanRecord(
        facts=data["facts"],
        refit=tuple(str(name) for name in data["refit"]),
        goldens=goldens,
        sha256=str(data["sha256"]),
        nbytes=int(data["nbytes"]),
    )
