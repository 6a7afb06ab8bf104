"""The data that crosses rooms: frozen, validated, ROS-free."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import FrameError, LibraryError, VocabularyError
from semla_ros.core.novelty import NoveltyAlarm

UInt8Array = npt.NDArray[np.uint8]
LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]

BASE = "base"
"""Reserved name in a mix: weight on the unadapted base model (the null adapter)."""

UNLABELED_NAME = "unlabeled"

UNSUPPORTED = " (unsupported)"
"""Added to a class's name in the planner's mask where the library does not cover the scene."""

MIN_DISTANCE = 1e-6
"""Distances are clamped to this, so that 1/d stays finite."""

MAX_CLASSES = 65534


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera image.

    Attributes:
        stamp_ns: Time of capture in nanoseconds; time enters the core here and nowhere else.
        frame_id: The camera's optical frame.
        rgb: (H, W, 3) uint8, H and W >= 1.
        arrival_ns: When it came, on a clock that never steps back (the machine's, a recording's);
            None for files. Serves where stamps cannot be used.
    """

    stamp_ns: int
    frame_id: str
    rgb: UInt8Array
    arrival_ns: int | None = None

    def __post_init__(self) -> None:
        rgb = self.rgb
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise FrameError(
                f"expected an image (H, W, 3) of uint8, H, W >= 1, got {rgb.shape} of {rgb.dtype}"
            )


@dataclass(frozen=True, slots=True)
class AdapterMix:
    """Which adapters, in which proportion.

    Attributes:
        names: Distinct adapter names, heaviest first; `BASE` stands for the unadapted model.
        weights: As many weights, each >= 0, of sum 1.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.weights):
            raise LibraryError(
                "expected as many names as weights and at least one, "
                f"got {self.names!r} and {self.weights!r}"
            )
        if len(set(self.names)) != len(self.names):
            raise LibraryError(f"expected distinct adapter names, got {self.names!r}")
        total = math.fsum(self.weights)
        if not all(w >= 0 for w in self.weights) or not math.isclose(total, 1.0, abs_tol=1e-6):
            raise LibraryError(
                f"expected weights >= 0 of sum 1, got {self.weights!r} (sum {total!r})"
            )

    @classmethod
    def base_only(cls) -> AdapterMix:
        """Return the mix that leaves the base model as it is."""
        return cls((BASE,), (1.0,))

    @classmethod
    def from_weights(cls, weights: Mapping[str, float]) -> AdapterMix:
        """Return the mix of name -> weight, normalised to sum 1, heaviest first, zeros dropped.

        Raises:
            LibraryError: A weight is negative or not finite, or none is positive.
        """
        if not all(w >= 0 for w in weights.values()) or not 0 < sum(weights.values()) < math.inf:
            raise LibraryError(
                f"expected finite weights >= 0 with at least one above 0, got {dict(weights)!r}"
            )
        total = math.fsum(weights.values())
        kept = sorted(
            ((w / total, n) for n, w in weights.items() if w / total > 0),
            key=lambda x: (-x[0], x[1]),
        )
        return cls(tuple(n for _, n in kept), tuple(w for w, _ in kept))

    def weight(self, name: str) -> float:
        """Return the weight of `name`, 0 if it takes no part."""
        return dict(zip(self.names, self.weights, strict=True)).get(name, 0.0)

    def difference(self, other: AdapterMix) -> float:
        """Return the total variation distance to `other`, in [0, 1]."""
        mine = dict(zip(self.names, self.weights, strict=True))
        theirs = dict(zip(other.names, other.weights, strict=True))
        return 0.5 * math.fsum(abs(mine.get(n, 0.0) - theirs.get(n, 0.0)) for n in mine | theirs)

    @property
    def adapted(self) -> bool:
        """Whether any adapter takes part."""
        return any(n != BASE and w > 0 for n, w in zip(self.names, self.weights, strict=True))

    @property
    def identity(self) -> str:
        """A short readable key, e.g. `fog-day=0.61,rain-day=0.39`; equal mixes have equal keys."""
        return ",".join(f"{n}={w:.4g}" for n, w in zip(self.names, self.weights, strict=True))


@dataclass(frozen=True, slots=True)
class DomainEstimate:
    """Where the camera is, as seen from the library.

    Attributes:
        stamp_ns: Stream time of the newest frame in it: its stamp, where stamps are sound.
        embedding: (D,) float32, smoothed image embedding.
        raw_embedding: (D,) float32, of the newest frame alone.
        names: The library's adapters, in the library's order.
        distances: (K,) float64, distance of `embedding` to each centroid; small = near.
        raw_distances: (K,) float64, the same for `raw_embedding`.
        novelties: (K,) float64, distance of `raw_embedding` to each centroid in units of the
            spread within domains; None where the library does not know that spread.
        alarm: From which novelty on the library raises the alarm; None where it has no say.
    """

    stamp_ns: int
    embedding: Float32Array
    raw_embedding: Float32Array
    names: tuple[str, ...]
    distances: Float64Array
    raw_distances: Float64Array
    novelties: Float64Array | None = None
    alarm: NoveltyAlarm | None = None

    def __post_init__(self) -> None:
        if not len(self.distances) == len(self.raw_distances) == len(self.names):
            raise LibraryError(
                f"expected {len(self.names)} distances, got {len(self.distances)} "
                f"and {len(self.raw_distances)}"
            )


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """Low-rank change of one linear layer: delta = scaling * B @ A.

    Attributes:
        lora_a: (r, in) float32.
        lora_b: (out, r) float32.
        scaling: alpha / r (alpha / sqrt(r) for rank-stabilised LoRA).
    """

    lora_a: Float32Array
    lora_b: Float32Array
    scaling: float


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A domain's adapter: module name (as in the checkpoint, without `.weight`) -> change.

    Attributes:
        name: The domain.
        layers: Touched modules only; modules whose B is all zero are left out.
        base_model: Identity of the base model it was trained on, None where the file is silent.
    """

    name: str
    layers: Mapping[str, LoraLayer]
    base_model: str | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The class list: prompts for the text encoder, colours for people.

    Attributes:
        names: Class names in id order; the prompt uses the part before the first comma.
        colors: (T, 3) uint8 RGB.
    """

    names: tuple[str, ...]
    colors: UInt8Array

    def __post_init__(self) -> None:
        cleaned = [n.strip() for n in self.names]
        empty = sum(not n.split(",")[0].strip() for n in cleaned)
        if not cleaned or empty:
            raise VocabularyError(
                f"expected at least one class and no empty name, got {empty} empty of "
                f"{len(cleaned)}: write each as a name, or as 'name, synonym'"
            )
        name, times = Counter(n.lower() for n in cleaned).most_common(1)[0]
        if times > 1:
            raise VocabularyError(
                f"expected distinct class names, got {name[:60]!r} {times} times: remove "
                "the repeats"
            )
        if len(cleaned) > MAX_CLASSES or self.colors.shape != (len(cleaned), 3):
            raise VocabularyError(
                f"expected at most {MAX_CLASSES} classes with one RGB each, got {len(cleaned)} "
                f"classes, colours of shape {self.colors.shape}"
            )

    @property
    def unlabeled_id(self) -> int:
        """The reserved id for "no class": the largest value of the mask's type."""
        return 255 if len(self.names) <= 254 else 65535
