"""Which adapters a text speaks of: texts compared with the descriptions of domains.

Text is compared with text alone: in CLIP's space images and texts lie in different cones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.errors import LibraryError
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.library.neutral_texts import NEUTRAL_TEXTS

MIN_DESCRIBED = 3
"""Domains with captions below which nobody can say how far apart their descriptions lie."""
STRAY = 0.05
"""Share of the neutral texts that may come nearer than `least` takes them to come."""


@dataclass(frozen=True, slots=True)
class TextPrior:
    """Weights over adapters from a text alone: softmax(cosine / temperature).

    Attributes:
        text: What was said.
        cosines: Adapter -> cosine of the text to its description, -1 to 1.
        floor: Cosine at which the base and adapters without a description compete.
        temperature: Of the softmax over cosines, > 0.

    Source: SG-LoRA (CVPR 2026), Eq. 6.
    """

    text: str
    cosines: Mapping[str, float]
    floor: float
    temperature: float

    def logits(self, names: Sequence[str]) -> Float64Array:
        """Return cosine / temperature of each of `names`, (N,) float64."""
        found = [self.cosines.get(name, self.floor) for name in names]
        return np.asarray(found, dtype=np.float64) / self.temperature


@dataclass(frozen=True, slots=True, eq=False)
class Descriptions:
    """What domains are described by.

    Attributes:
        names: N adapters.
        vectors: (N, E) float64, the mean of each domain's captions as unit vectors.
        floor: The least cosine with which a caption finds a domain that it is not of: no domain
            of the library is further from the others.
        least: Cosine to the nearest description from which on a text speaks of a domain, be it one
            that is not here: half way between what neutral texts reach, all but `STRAY` of them,
            and `floor`.
    """

    names: tuple[str, ...]
    vectors: Float64Array
    floor: float
    least: float

    @classmethod
    def read(
        cls,
        captions: Mapping[str, Sequence[str]],
        encode: Callable[[Sequence[str]], Float32Array],
    ) -> Descriptions:
        """Return the descriptions of domains from their captions, see `of`.

        Args:
            captions: Adapter -> its captions.
            encode: Texts -> their embeddings (T, E), of length 1.
        """
        return cls.of({n: encode(each) for n, each in captions.items()}, encode(NEUTRAL_TEXTS))

    @classmethod
    def of(cls, captions: Mapping[str, Float32Array], neutral: Float32Array) -> Descriptions:
        """Return the descriptions of domains.

        Args:
            captions: Adapter -> its captions' embeddings (T, E), of length 1.
            neutral: (M, E) of `NEUTRAL_TEXTS`, by the same encoder.

        Raises:
            LibraryError: Fewer than `MIN_DESCRIBED` adapters, or one caption each.
        """
        if len(captions) < MIN_DESCRIBED:
            raise LibraryError(
                f"expected captions of at least {MIN_DESCRIBED} adapters, got {len(captions)}: "
                'semla library caption add BUNDLE NAME "..."'
            )
        names = tuple(captions)
        vectors = np.stack([captions[name].mean(axis=0, dtype=np.float64) for name in names])
        foreign = [
            np.delete(_cosines(captions[name], vectors), i, axis=1).max(axis=1).min()
            for i, name in enumerate(names)
        ]
        floor = float(min(foreign))
        reached = _cosines(neutral, vectors).max(axis=1)
        stray = float(np.quantile(reached, 1 - STRAY, method="higher"))
        return cls(names, vectors, floor, floor - max(floor - stray, 0.0) / 2)

    def prior(self, text: str, embedding: Float32Array, *, temperature: float) -> TextPrior:
        """Return which adapters `text` speaks of.

        Args:
            text: What was said.
            embedding: (E,) of it, or of the mean of several texts.
            temperature: Of the softmax over cosines.

        Raises:
            LibraryError: No description has a cosine of `least` to it.
        """
        prior = self.likeness(text, embedding, temperature=temperature)
        nearest, cosine = max(prior.cosines.items(), key=lambda item: item[1])
        if cosine < self.least:
            raise LibraryError(
                f"{_shown(text)} speaks of no domain of the library: nearest is "
                f"{nearest!r} with a cosine of {cosine:.2f}, expected at "
                f"least {self.least:.2f}: describe place, weather and light in a sentence"
            )
        return prior

    def likeness(self, text: str, embedding: Float32Array, *, temperature: float) -> TextPrior:
        """Return `prior` of any text, however far."""
        cosines = map(float, _cosines(embedding[None], self.vectors)[0])
        found = dict(zip(self.names, cosines, strict=True))
        return TextPrior(text, found, self.floor, temperature)


def _cosines(points: Float32Array, vectors: Float64Array) -> Float64Array:
    """Return the cosine of each of `points` (P, E) to each of `vectors` (N, E), (P, N)."""
    wide = points.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    cosines: Float64Array = wide @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    return cosines


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
