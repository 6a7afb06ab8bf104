"""From a mix and a class list to everything an engine needs to serve them, in its idle slot."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass

from semla_ros.adapter_access import AdapterAccess
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.text import TextFeatures
from semla_ros.errors import EngineError, SemlaError
from semla_ros.library.fusion import MergedWeights, WeightSource
from semla_ros.timing import StageTimer, now_ms
from semla_ros.types import BASE, AdapterMix, LoraAdapter, Vocabulary, WeightSet

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What to prepare; every recipe is one attempt, equal content or not.

    Attributes:
        mix: The proportions.
        vocabulary: The classes.
        access: Where its adapters come from.
    """

    mix: AdapterMix
    vocabulary: Vocabulary
    access: AdapterAccess


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


class RecentMixes:
    """Mixes that served not long ago: their text features are still in memory."""

    def __init__(self, size: int) -> None:
        """Remember up to `size`."""
        self._mixes: deque[AdapterMix] = deque(maxlen=size)

    def add(self, mix: AdapterMix) -> None:
        """Remember `mix` as the newest."""
        if mix in self._mixes:
            self._mixes.remove(mix)
        self._mixes.append(mix)

    def nearest(
        self,
        mix: AdapterMix,
        *,
        tolerance: float,
        other_than: AdapterMix,
        without: Collection[str] = (),
    ) -> AdapterMix | None:
        """Return the mix nearest to `mix` within sum |w - w'| <= tolerance, None without one.

        Args:
            mix: Wanted.
            tolerance: 0 finds nothing.
            other_than: Left out: the mix that serves.
            without: Adapters that it must not have.
        """
        if tolerance <= 0:
            return None
        near = [
            (2 * each.difference(mix), each)
            for each in self._mixes
            if each != other_than and set(without).isdisjoint(each.names)
        ]
        best = min(near, key=lambda x: x[0], default=None)
        return best[1] if best is not None and best[0] <= tolerance else None

    def clear(self) -> None:
        """Forget all."""
        self._mixes.clear()


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
    """Fills the engine's idle slot; one call at a time, on the background's thread."""

    def __init__(
        self, engine: SegmentationEngine, base_weights: WeightSource, text_encoder: TextFeatures
    ) -> None:
        """Merge into `engine`."""
        self._engine = engine
        self._base = base_weights
        self._text = text_encoder

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
        """Fill the idle slot with `recipe`.

        Raises:
            SemlaError: It cannot be served, or nobody wants it any more.
        """
        loaded = False  # then the set is the engine's, which may merge it again for another one

        def proceed() -> None:
            if not loaded and not wanted():
                raise EngineError("superseded while fusing")

        with timer.stage("fuse"):
            weight_set = self._weight_set(recipe, proceed)
        proceed()
        with timer.stage("load"):
            self._engine.prepare(weight_set)
        loaded = True

    def _weight_set(self, recipe: Recipe, proceed: Callable[[], None]) -> WeightSet:
        return make_weight_set(
            recipe.mix,
            [recipe.access.get(name) for name in recipe.mix.names if name != BASE],
            base=self._base,
            text=self._text,
            vocabulary=recipe.vocabulary,
            image_layers=self._engine.layers,
            key=(recipe.access.number, recipe.mix),
            proceed=proceed,
        )
