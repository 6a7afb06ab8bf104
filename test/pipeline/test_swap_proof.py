"""A set is proved before it serves; what fails is named and serves no more."""

import numpy as np
import pytest

from semla_ros.bundle import GraphWeight
from semla_ros.core.errors import AdapterError
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import BASE, AdapterMix, LoraAdapter, LoraLayer, Vocabulary
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.pipeline.swap import AdapterSwapper
from semla_ros.pipeline.swap_request import SwapRequest

LAYER = GraphWeight("image.fc", "p", "segmentation", "p", False, (4, 4))
RGB = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SCALINGS = {"good": 1.0, "other": 0.5, "sly": 1.0, "wild": 100.0, "idle": 100.0}
"""Adapter -> how many times W0 it adds; `sly` collapses, `idle` changes no mask."""


class PickyEngine(FakeEngine):
    """Answers proofs by what is in the mix: `sly` makes all road, `nan` no number at all."""

    def __init__(self):
        super().__init__({LAYER.name: LAYER})
        self.proofs = []
        self.blind = False

    def _prove_impl(self, index, image):
        mix = self._prepared.mix
        self.proofs.append(mix)
        if self.blind:
            return None
        logits = self._logits(index, image)
        if mix.weight("sly") > 0.3:
            logits[:] = -5
            logits[0] = 5
        if mix.weight("wild") > 0:
            logits = np.ascontiguousarray(logits[::-1])
        if mix.weight("other") > 0.9:
            logits[:] = np.nan
        return logits


class Adapters:
    def get(self, name):
        if name not in SCALINGS:
            raise AdapterError(f"adapter {name!r} is truncated")
        ones = np.ones((1, 4), np.float32)
        return LoraAdapter(name, {LAYER.name: LoraLayer(ones, ones.T.copy(), SCALINGS[name])})

    def gone(self):
        return {}


class Base:
    def get(self, layer):
        return np.ones((4, 4), np.float32)


class Text:
    def encode(self, vocabulary, weights, *, key=None):
        return np.ones((len(vocabulary.names), 3), np.float32)


def classes(*names):
    return Vocabulary(names, np.zeros((len(names), 3), np.uint8))


@pytest.fixture
def engine():
    return PickyEngine()


@pytest.fixture
def swapper(engine):
    made = AdapterSwapper(
        engine, Adapters(), Base(), Text(), classes("road", "sky"), InlineExecutor()
    )
    made.saw(RGB, engine.infer(RGB))
    return made


def swap(swapper, weights, **options):
    mix = AdapterMix.from_weights(weights)
    swapper.request(mix, reason="pinned", stamp_ns=1, **options)
    return swapper.commit_ready(2)


def test_a_collapse_is_refused_named_and_leaves_the_old_set(swapper, engine):
    assert swap(swapper, {"good": 1}).committed
    before = engine.infer(RGB, keep_logits=True)
    event = swap(swapper, {"sly": 1})
    assert not event.committed
    assert event.error.startswith("mix sly=1 makes 100 % of the picture road where ")
    assert ": refused; train or copy ['sly'] again, then reload the library" in event.error
    assert swapper.active == before.mix
    after = engine.infer(RGB, keep_logits=True)
    np.testing.assert_array_equal(after.logits, before.logits)
    assert list(swapper.unusable) == ["sly"]
    again = swap(swapper, {"sly": 1})
    assert not again.committed
    assert "100 % of the picture road" in again.error
    assert swap(swapper, {"good": 0.5, BASE: 0.5}).committed


def test_of_a_mix_the_member_that_collapses_alone_is_blamed(swapper):
    event = swap(swapper, {"good": 0.4, "sly": 0.6})
    assert not event.committed
    assert list(swapper.unusable) == ["sly"]
    assert swap(swapper, {"good": 1}).committed


def test_a_member_that_passes_in_a_small_part_serves(swapper):
    assert swap(swapper, {"good": 0.9, "sly": 0.1}).committed


def test_weights_drowned_by_a_change_are_refused_where_the_mask_shows_it(swapper):
    event = swap(swapper, {"good": 0.5, "wild": 0.5})
    assert not event.committed
    assert "adapter 'wild' changes image.fc by 100 times its own weights" in event.error
    assert list(swapper.unusable) == ["wild"]


def test_weights_drowned_by_a_change_that_no_mask_shows_are_let_be(swapper):
    assert swap(swapper, {"idle": 1}).committed


def test_and_looked_at_again_the_next_time(swapper, engine):
    swap(swapper, {"idle": 1})
    swap(swapper, {"good": 1})
    proofs = len(engine.proofs)
    assert swap(swapper, {"idle": 1}).committed
    assert len(engine.proofs) == proofs + 1


def test_what_nobody_wants_any_more_is_not_proved_and_cannot_be_taken(swapper, engine):
    preparer = swapper._preparer
    mix, access = AdapterMix(("good",), (1.0,)), swapper._active.access
    request = SwapRequest(mix, swapper.vocabulary, access, "domain")
    proofs = len(engine.proofs)
    preparer.attempt(request, wanted=lambda: engine._prepared is None)
    assert request.error == "superseded before it was proved"
    assert len(engine.proofs) == proofs


def test_an_engine_that_cannot_prove_leaves_the_weights_to_judge(swapper, engine):
    engine.blind = True
    assert swap(swapper, {"sly": 1}).committed
    assert not swap(swapper, {"idle": 1}).committed


def test_an_answer_that_is_not_finite_is_refused(swapper):
    event = swap(swapper, {"other": 1})
    assert not event.committed
    assert "makes the network's answer not finite" in event.error


def test_another_library_is_judged_anew(swapper, engine):
    swap(swapper, {"sly": 1})
    swap(swapper, {"good": 1})
    proofs = len(engine.proofs)
    assert swap(swapper, {"good": 1}, library=Adapters()).committed
    assert len(engine.proofs) == proofs + 1
    assert not swapper.unusable
    assert not swap(swapper, {"sly": 1}).committed


def test_what_was_proved_is_not_proved_again_nor_is_the_base(swapper, engine):
    proofs = len(engine.proofs)
    for weights in ({"good": 1}, {BASE: 1}, {"good": 1}, {BASE: 1}):
        assert swap(swapper, weights).committed
    assert len(engine.proofs) == proofs + 1
    assert swap(swapper, {"good": 1}, vocabulary=classes("car", "road")).committed
    assert len(engine.proofs) == proofs + 2


def test_other_classes_do_not_compare(swapper):
    assert swap(swapper, {"sly": 1}, vocabulary=classes("sky", "car")).committed


def test_the_golden_image_is_the_witness_before_the_first_frame(engine):
    swapper = AdapterSwapper(
        engine, Adapters(), Base(), Text(), classes("road", "sky"), InlineExecutor()
    )
    assert not swap(swapper, {"sly": 1}).committed
    assert swap(swapper, {"good": 1}).committed


def test_a_study_serves_what_it_is_told(swapper):
    assert not swap(swapper, {"sly": 1}).committed
    assert swap(swapper, {"sly": 1}, proved=False).committed
    assert not swap(swapper, {"sly": 1}).committed
