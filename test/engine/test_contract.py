"""One contract, every engine."""

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semla_ros.engine import ENGINES, create_engine
from semla_ros.errors import EngineError, EngineUnavailableError, FrameError
from semla_ros.types import AdapterMix, WeightSet

DIM = 32


@pytest.fixture(params=tuple(ENGINES))
def engine(request):
    """Each engine on a small bundle it can read: torch has no use for graphs."""
    if request.param == "torch":
        bundle = request.getfixturevalue("network_bundle")
    else:
        bundle = request.getfixturevalue("hand_made").bundle
    with create_engine(request.param, bundle, threads=1) as engine:
        yield engine


@pytest.fixture
def make_set(engine, maker_for):
    """Return a factory of random sets for `engine`: seed, layers touched, class names."""
    return maker_for(list(engine.layers.values())[:2])


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


def test_nothing_serves_before_the_first_commit(engine, make_set, rgb):
    with pytest.raises(EngineError, match="before the first commit"):
        engine.infer(rgb)
    engine.prepare(make_set(1))
    with pytest.raises(EngineError, match="before the first commit"):
        engine.infer(rgb)


def test_commit_without_prepare_is_an_error_and_changes_nothing(engine, make_set, rgb):
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()
    serve(engine, make_set(1))
    before = answer(engine, rgb)
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()
    np.testing.assert_array_equal(answer(engine, rgb), before)


def test_prepare_alone_changes_nothing(engine, make_set, rgb):
    serve(engine, make_set(1))
    before = answer(engine, rgb)
    engine.prepare(make_set(2))
    np.testing.assert_array_equal(answer(engine, rgb), before)
    assert engine.infer(rgb).mix == make_set(1).mix
    engine.commit()
    assert not np.array_equal(answer(engine, rgb), before)
    assert engine.infer(rgb).mix == make_set(2).mix


def test_the_last_prepared_set_is_the_one_committed(engine, make_set, rgb):
    engine.prepare(make_set(1))
    serve(engine, make_set(2))
    expected = answer(engine, rgb)
    serve(engine, make_set(3))
    engine.prepare(make_set(1))
    serve(engine, make_set(2))
    np.testing.assert_array_equal(answer(engine, rgb), expected)


def test_there_and_back_is_bit_identical(engine, make_set, rgb):
    serve(engine, make_set(1))
    first = answer(engine, rgb)
    for seed in (2, 3, 1):
        serve(engine, make_set(seed, names=("road", "sky", "car", "tree")[: seed + 1]))
    serve(engine, make_set(1))
    np.testing.assert_array_equal(answer(engine, rgb), first)


def test_a_set_that_touches_less_gets_the_base_weights_back(engine, make_set, rgb):
    few = make_set(1, touched=1)
    none = make_set(1, touched=0)
    expected = {}
    for weight_set in (few, none):
        serve(engine, weight_set)
        serve(engine, weight_set)
        expected[len(weight_set.weights)] = answer(engine, rgb)
    for _ in range(2):
        for weight_set in (make_set(5), few, make_set(6), make_set(7), none):
            serve(engine, weight_set)
            if len(weight_set.weights) < 2:
                got = answer(engine, rgb)
                np.testing.assert_array_equal(got, expected[len(weight_set.weights)])


def broken_sets(make_set):
    good = make_set(2)
    last, weight = list(good.weights.items())[-1]
    holed = weight.copy()
    holed[-1, -1] = np.nan
    text = good.text_features.copy()
    text[0, 0] = np.inf
    return {
        "unknown layer": replace(good, weights={**good.weights, "no.such.layer": weight}),
        "transposed": replace(good, weights={last: np.ascontiguousarray(weight.T)}),
        "float64": replace(good, weights={last: weight.astype(np.float64)}),
        "NaN in the last value": replace(good, weights={**good.weights, last: holed}),
        "infinite text feature": replace(good, text_features=text),
        "float64 text": replace(good, text_features=good.text_features.astype(np.float64)),
    }


def test_a_set_that_does_not_fit_is_refused_before_anything_is_written(engine, make_set, rgb):
    serve(engine, make_set(1))
    before = answer(engine, rgb)
    engine.prepare(make_set(3))
    for what, bad in broken_sets(make_set).items():
        with pytest.raises(EngineError, match="expected"):
            engine.prepare(bad)
        np.testing.assert_array_equal(answer(engine, rgb), before, err_msg=what)
    engine.commit()
    assert engine.infer(rgb).mix == make_set(3).mix


def test_a_failure_while_writing_keeps_the_old_set_and_publishes_nothing(
    engine, make_set, rgb, monkeypatch
):
    serve(engine, make_set(1))
    before = answer(engine, rgb)
    whole = engine._prepare_impl

    def half(index, weight_set):
        first = dict(list(weight_set.weights.items())[:1])
        whole(index, replace(weight_set, weights=first))
        raise OSError("the disk is gone")

    engine.prepare(make_set(2))
    monkeypatch.setattr(engine, "_prepare_impl", half)
    with pytest.raises(OSError, match="disk"):
        engine.prepare(make_set(3))
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()
    np.testing.assert_array_equal(answer(engine, rgb), before)
    monkeypatch.undo()
    for touched in (1, 0):
        serve(engine, make_set(4, touched=touched))
        got = answer(engine, rgb)
        serve(engine, make_set(4, touched=touched))
        np.testing.assert_array_equal(answer(engine, rgb), got)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["grey", "rgba", "empty", "float"],
)
def test_a_malformed_image_is_refused_and_the_engine_lives(engine, make_set, rgb, image):
    serve(engine, make_set(1))
    before = answer(engine, rgb)
    with pytest.raises(FrameError, match="expected an image"):
        engine.infer(image)
    np.testing.assert_array_equal(answer(engine, rgb), before)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (480, 640), (17, 5)])
def test_any_resolution_gives_labels_at_network_size(engine, make_set, shape):
    serve(engine, make_set(1))
    prediction = engine.infer(np.full((*shape, 3), 128, np.uint8))
    assert prediction.labels.shape == prediction.confidence.shape == (engine.size, engine.size)
    assert prediction.labels.dtype == prediction.confidence.dtype == np.uint8
    assert prediction.logits is None
    assert int(prediction.labels.max()) < 4


def test_the_vocabulary_changes_with_the_set(engine, make_set, rgb):
    serve(engine, make_set(1, names=("road", "sky")))
    assert engine.infer(rgb).vocabulary.names == ("road", "sky")
    names = tuple(f"class {i}" for i in range(300))
    serve(engine, make_set(2, names=names))
    prediction = engine.infer(rgb)
    assert prediction.labels.dtype == np.uint16
    assert len(prediction.vocabulary.names) == 300


def test_kept_logits_survive_the_next_frame(engine, make_set, rgb):
    serve(engine, make_set(1))
    kept = answer(engine, rgb)
    copy = kept.copy()
    engine.infer(255 - rgb)
    np.testing.assert_array_equal(kept, copy)


def test_a_closed_engine_says_so(engine, make_set, rgb):
    serve(engine, make_set(1))
    engine.close()
    engine.close()
    for call in (lambda: engine.infer(rgb), lambda: engine.prepare(make_set(1)), engine.commit):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_every_frame_is_computed_with_one_whole_set(engine, make_set, rgb):
    """Prepare and commit as fast as possible while frames run; no frame may be a mixture."""
    sets = [make_set(1), make_set(2, touched=1, names=("road", "sky", "car"))]
    expected = {}
    for weight_set in sets:
        serve(engine, weight_set)
        expected[weight_set.mix] = answer(engine, rgb)
    stop = threading.Event()
    swaps = 0

    def swap_forever():
        nonlocal swaps
        while not stop.is_set():
            serve(engine, sets[swaps % 2])
            swaps += 1

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(swap_forever)
        seen = set()
        for _ in range(150 if engine.name == "torch" else 1500):
            prediction = engine.infer(rgb, keep_logits=True)
            assert np.array_equal(prediction.logits, expected[prediction.mix]), prediction.mix
            seen.add(prediction.mix)
        stop.set()
        worker.result()
    assert seen == set(expected)
    assert swaps > 10


def test_a_slot_is_not_rewritten_while_a_frame_is_still_computed_with_it(
    engine, make_set, rgb, monkeypatch
):
    """The frame began before the commit; the next prepare must wait for it, not spoil it."""
    serve(engine, make_set(1))
    expected = answer(engine, rgb)
    entered, leave = threading.Event(), threading.Event()
    whole = engine._infer_impl

    def slow(index, image):
        entered.set()
        assert leave.wait(20)
        return whole(index, image)

    monkeypatch.setattr(engine, "_infer_impl", slow)
    with ThreadPoolExecutor(2) as pool:
        frame = pool.submit(engine.infer, rgb, keep_logits=True)
        assert entered.wait(20)
        serve(engine, make_set(2))
        preparing = pool.submit(engine.prepare, make_set(3))
        with pytest.raises(FutureTimeout):
            preparing.result(0.1)
        leave.set()
        prediction = frame.result(20)
        preparing.result(20)
    assert prediction.mix == make_set(1).mix
    np.testing.assert_array_equal(prediction.logits, expected)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm")
def test_a_thousand_swaps_do_not_grow_the_memory(engine, make_set, rgb):
    def resident_kib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4

    sets = [make_set(1), make_set(2, touched=1, names=("road", "sky"))]

    def swap(count: int) -> None:
        for i in range(count):
            serve(engine, sets[i % 2])
            if i % 10 == 0 or engine.name != "torch":
                engine.infer(rgb)

    swap(200)
    before = resident_kib()
    swap(1000)
    assert resident_kib() - before < 1024, "KiB grown over 1000 swaps"


def test_an_unknown_engine_is_refused_with_the_choices(hand_made):
    with pytest.raises(EngineUnavailableError, match="onnx"):
        create_engine("tensorflow", hand_made.bundle)


def test_auto_takes_one_that_works(hand_made):
    with create_engine("auto", hand_made.bundle) as engine:
        assert engine.name == "onnx"


def test_onnx_and_torch_agree_on_the_same_bundle(tiny, rgb):
    """The reference network and the exported graph, base weights and merged ones."""
    pytest.importorskip("torch", reason="engine torch needs PyTorch")
    names = tiny.manifest.vocabulary.names
    rng = np.random.default_rng(0)
    text = rng.normal(size=(len(names), DIM)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    layers = [layer for layer in tiny.manifest.layers if layer.graph == "segmentation"]
    merged = {
        layer.name: rng.normal(0, layer.shape[1] ** -0.5, layer.shape).astype(np.float32)
        for layer in layers
    }
    answers = []
    for weights in ({}, merged, dict(list(merged.items())[::3])):
        mix = AdapterMix((f"{len(weights)} layers",), (1.0,))
        weight_set = WeightSet(mix, weights, text, tiny.manifest.vocabulary)
        for name in ("onnx", "torch"):
            with create_engine(name, tiny, threads=1) as engine:
                serve(engine, weight_set)
                answers.append(answer(engine, rgb))
    for onnx_logits, torch_logits in zip(answers[::2], answers[1::2], strict=True):
        np.testing.assert_allclose(onnx_logits, torch_logits, atol=2e-3)
    assert np.abs(answers[0] - answers[2]).max() > 0.1, "the merged weights must matter"


def test_torch_missing_is_said_with_the_remedy(network_bundle, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else found(name, *a)
    )
    with pytest.raises(EngineUnavailableError, match="pip install torch"):
        create_engine("torch", network_bundle)
