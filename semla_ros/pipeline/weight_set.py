"""From a mix and a class list to everything an engine needs to serve them, in its idle slot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterError, EngineError, SemlaError
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import BASE, AdapterMix, LoraAdapter, Vocabulary
from semla_ros.core.weights import WeightSet
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.proof import NOTICED, SwapProof
from semla_ros.engine.text import TextFeatures
from semla_ros.library.fusion import MergedWeights
from semla_ros.pipeline.swap_request import SwapRequest

_LOG = logging.getLogger(__name__)


def make_weight_set(
    mix: AdapterMix,
    adapters: Sequence[LoraAdapter],
    *,
    base: BaseWeights,
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
        self, engine: SegmentationEngine, base_weights: BaseWeights, text_encoder: TextFeatures
    ) -> None:
        """Merge into `engine`."""
        self.proof = SwapProof(engine, base_weights.get)
        self._engine = engine
        self._base = base_weights
        self._text = text_encoder

    def attempt(self, request: SwapRequest, *, wanted: Callable[[], bool]) -> None:
        """Prepare `request`, which then knows how that ended; raises nothing.

        Args:
            request: What to prepare.
            wanted: Asked between layers; work that nobody wants any more ends there.
        """
        timer, error = StageTimer(), ""
        try:
            self.load(request, timer, wanted=wanted)
        except SemlaError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001  worker boundary: later swaps go on
            _LOG.debug("while preparing %s", request.mix.identity, exc_info=True)
            error = f"{type(failure).__name__}: {failure}"
        request.end(timer.durations_ms, error)

    def load(
        self, request: SwapRequest, timer: StageTimer, *, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Fill the idle slot with `request` and prove it.

        Raises:
            SemlaError: It cannot be served, fails its proof, or nobody wants it any more.
        """
        loaded = False  # then the set is the engine's, which may merge it again for another one

        def proceed() -> None:
            if not loaded and not wanted():
                raise EngineError("superseded while fusing")

        with timer.stage("fuse"):
            get = partial(request.access.get, even_refused=not request.proved)
            adapters = [get(name) for name in request.mix.names if name != BASE]
            weight_set = self._weight_set(request, adapters, proceed)
        proceed()
        with timer.stage("load"):
            self._engine.prepare(weight_set)
        loaded = True
        known = self.proof.knows(request.mix, request.vocabulary, request.access.number)
        if request.proved and not known:
            if not wanted():
                raise EngineError("superseded before it was proved")
            self._prove(request, adapters)

    def _prove(self, request: SwapRequest, adapters: Sequence[LoraAdapter]) -> None:
        """Hold the filled slot against what served before; whoever is to blame serves no more.

        Raises:
            AdapterError: The set must not serve; the message says why.
        """
        mix, vocabulary, number = request.mix, request.vocabulary, request.access.number
        seen = self.proof.picture(vocabulary)
        blamed = {each.name: found for each in adapters if (found := self.proof.weights(each))}
        if seen.clear and not seen.collapse and not blamed:
            self.proof.passed(mix, vocabulary, number)
        if not seen.collapse and (not blamed or seen.changed <= NOTICED):
            return  # what no mask has shown is looked at again next time
        told = "; ".join(f"adapter {name!r} {found}" for name, found in blamed.items())
        if seen.collapse:
            told = f"mix {mix.identity} {seen.collapse}" + (f"; {told}" if told else "")
            blamed = blamed or self._alone(request, adapters)
        text = f"{told}: refused; train or copy {sorted(blamed)!r} again, then reload the library"
        request.access.refuse(blamed, text)
        raise AdapterError(text)

    def _alone(self, request: SwapRequest, adapters: Sequence[LoraAdapter]) -> dict[str, str]:
        """Return those of `adapters` that fail alone, all where none does."""
        failing = {}
        for adapter in adapters if len(adapters) > 1 else ():
            mix = AdapterMix((adapter.name,), (1.0,))
            self._engine.prepare(self._weight_set(request, [adapter], lambda: None, mix=mix))
            if found := self.proof.picture(request.vocabulary).collapse:
                failing[adapter.name] = found
        return failing or {adapter.name: "" for adapter in adapters}

    def _weight_set(
        self,
        request: SwapRequest,
        adapters: Sequence[LoraAdapter],
        proceed: Callable[[], None],
        *,
        mix: AdapterMix | None = None,
    ) -> WeightSet:
        """Return the set of `request`, or of another `mix` with its classes."""
        mix = mix or request.mix
        return make_weight_set(
            mix,
            adapters,
            base=self._base,
            text=self._text,
            vocabulary=request.vocabulary,
            image_layers=self._engine.facts.layers,
            key=(request.access.number, mix),
            proceed=proceed,
        )
