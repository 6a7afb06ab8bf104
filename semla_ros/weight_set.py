"""From a mix and a class list to everything an engine needs to serve them, in its idle slot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.proof import NOTICED, SwapProof
from semla_ros.engine.text import TextFeatures
from semla_ros.errors import AdapterError, EngineError, SemlaError
from semla_ros.library.fusion import MergedWeights, WeightSource
from semla_ros.timing import StageTimer, now_ms
from semla_ros.types import BASE, AdapterMix, LoraAdapter, Vocabulary, WeightSet

_LOG = logging.getLogger(__name__)


class AdapterSource(Protocol):
    """What preparing needs of a library."""

    def get(self, name: str) -> LoraAdapter:
        """Return the adapter `name`, or raise AdapterError."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What to prepare; every recipe is one attempt, equal content or not.

    Attributes:
        mix: The proportions.
        vocabulary: The classes.
        generation: Which library it was chosen from, see `SetPreparer.generation`.
        proved: Whether it must be proved before it serves.
    """

    mix: AdapterMix
    vocabulary: Vocabulary
    generation: int
    proved: bool = True


@dataclass(frozen=True, slots=True)
class Prepared:
    """How an attempt ended.

    Attributes:
        recipe: What was attempted.
        fuse_ms: Reading adapters, text features.
        load_ms: Merging into the engine's idle slot.
        done_ms: When it ended, on the clock of `now_ms`.
        error: Why it failed; empty: it lies in the idle slot.
    """

    recipe: Recipe
    fuse_ms: float
    load_ms: float
    done_ms: float
    error: str


def make_weight_set(
    mix: AdapterMix,
    adapters: Sequence[LoraAdapter],
    *,
    base: WeightSource,
    text: TextFeatures,
    vocabulary: Vocabulary,
    image_layers: Collection[str],
    key: Hashable | None = None,
    proceed: Callable[[], None] | None = None,
) -> WeightSet:
    """Return everything an engine needs to serve `mix` with `vocabulary`.

    The image side is merged when the engine writes it, text features are computed here.

    Args:
        mix: The proportions.
        adapters: At least the members of `mix`.
        base: W0 of every adaptable layer.
        text: The text tower.
        vocabulary: The classes.
        image_layers: Names of the layers of the segmentation graph.
        key: What identifies the merged weights, for the cache of text features.
        proceed: Called before each layer is merged; what it raises ends the work.
    """
    merged = MergedWeights(base, adapters, mix, proceed=proceed)
    features = text.encode(vocabulary, merged, key=key)
    image_side = MergedWeights(base, adapters, mix, layers=image_layers, proceed=proceed)
    return WeightSet(mix, image_side, features, vocabulary)


class SetPreparer:
    """Fills the engine's idle slot; one call at a time, on the background's thread.

    Attributes:
        proof: What a filled slot is held against before it may serve.
    """

    def __init__(
        self,
        engine: SegmentationEngine,
        library: AdapterSource,
        base_weights: WeightSource,
        text_encoder: TextFeatures,
    ) -> None:
        """Take adapters from `library`."""
        self.proof = SwapProof(engine, base_weights.get)
        self._engine = engine
        self._base = base_weights
        self._text = text_encoder
        self._lock = threading.Lock()
        self._library = library
        self._generation = 0
        self._unusable: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    @property
    def library(self) -> AdapterSource:
        """Where adapters come from; may be replaced at any time, also while preparing."""
        return self._library

    @library.setter
    def library(self, library: AdapterSource) -> None:
        with self._lock:
            self._library = library
            self._generation += 1
            self._unusable = {}
            self._refused = {}

    @property
    def generation(self) -> int:
        """How many times the library was replaced."""
        return self._generation

    @property
    def unusable(self) -> Mapping[str, str]:
        """Adapters that could not be loaded or proved since the library was set, with why."""
        return MappingProxyType({**self._unusable, **self._refused})

    def attempt(self, recipe: Recipe, *, wanted: Callable[[], bool]) -> Prepared:
        """Return how preparing `recipe` ended; raises nothing.

        Args:
            recipe: What to prepare.
            wanted: Asked between layers; work that nobody wants any more ends there.
        """
        timer, error = StageTimer(), ""
        try:
            self.load(recipe, timer, wanted=wanted)
        except SemlaError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001  worker boundary: later swaps go on
            _LOG.exception("unexpected failure while preparing %s", recipe.mix.identity)
            error = f"{type(failure).__name__}: {failure}"
        spent = timer.durations_ms
        return Prepared(
            recipe, spent.get("fuse", 0.0), spent.get("load", 0.0), now_ms(), error=error
        )

    def load(
        self, recipe: Recipe, timer: StageTimer, *, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Fill the idle slot with `recipe` and prove it.

        Raises:
            SemlaError: It cannot be served, fails its proof, or nobody wants it any more.
        """
        loaded = False  # then the set is the engine's, which may merge it again for another one

        def proceed() -> None:
            if not loaded and not wanted():
                raise EngineError("superseded while fusing")

        with timer.stage("fuse"):
            with self._lock:
                library, generation = self._library, self._generation
            names = [name for name in recipe.mix.names if name != BASE]
            adapters = [self._adapter(library, name) for name in names]
            weight_set = self._weight_set(recipe, adapters, generation, proceed)
        proceed()
        with timer.stage("load"):
            self._engine.prepare(weight_set)
        loaded = True
        if recipe.proved and wanted():
            self._prove(recipe, adapters, generation)

    def _prove(self, recipe: Recipe, adapters: Sequence[LoraAdapter], generation: int) -> None:
        """Hold the filled slot against what served before; whoever is to blame serves no more.

        Raises:
            AdapterError: The set must not serve; the message says why.
        """
        mix, vocabulary = recipe.mix, recipe.vocabulary
        if self.proof.knows(mix, vocabulary, generation):
            return
        seen = self.proof.picture(vocabulary)
        blamed = self._overgrown(adapters) if seen.collapse or seen.changed > NOTICED else {}
        if not seen.collapse and not blamed:
            self.proof.passed(mix, vocabulary, generation)
            return
        told = "; ".join(f"adapter {name!r} {found}" for name, found in blamed.items())
        if seen.collapse:
            told = f"mix {mix.identity} {seen.collapse}" + (f"; {told}" if told else "")
            blamed = blamed or self._alone(recipe, adapters, generation)
        text = f"{told}: refused; train or copy {sorted(blamed)!r} again, then reload the library"
        with self._lock:
            if generation == self._generation:
                self._refused = {**self._refused, **dict.fromkeys(blamed, text)}
        raise AdapterError(text)

    def _alone(
        self, recipe: Recipe, adapters: Sequence[LoraAdapter], generation: int
    ) -> dict[str, str]:
        """Return those of `adapters` that fail alone, all where none does."""
        failing = {}
        for adapter in adapters if len(adapters) > 1 else ():
            alone = replace(recipe, mix=AdapterMix((adapter.name,), (1.0,)))
            self._engine.prepare(self._weight_set(alone, [adapter], generation, lambda: None))
            if found := self.proof.picture(recipe.vocabulary).collapse:
                failing[adapter.name] = found
        return failing or {adapter.name: "" for adapter in adapters}

    def _overgrown(self, adapters: Sequence[LoraAdapter]) -> dict[str, str]:
        return {each.name: found for each in adapters if (found := self.proof.weights(each))}

    def _weight_set(
        self,
        recipe: Recipe,
        adapters: Sequence[LoraAdapter],
        generation: int,
        proceed: Callable[[], None],
    ) -> WeightSet:
        return make_weight_set(
            recipe.mix,
            adapters,
            base=self._base,
            text=self._text,
            vocabulary=recipe.vocabulary,
            image_layers=self._engine.layers,
            key=(generation, recipe.mix),
            proceed=proceed,
        )

    def _adapter(self, library: AdapterSource, name: str) -> LoraAdapter:
        if name in self._refused:
            raise AdapterError(f"adapter {name!r} cannot serve: {self._refused[name]}")
        try:
            return library.get(name)
        except AdapterError as error:
            with self._lock:
                if library is self._library:
                    self._unusable = {**self._unusable, name: str(error)}
            raise
