"""One contract, every engine."""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import EngineError
from semla_ros.core.weights import ArrayWeights
from semla_ros.engine.contract import NOT_PROVED

DIM = 32


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


def test_nothing_serves_before_the_first_commit(engine, engine_set, rgb):
    with pytest.raises(EngineError, match="before the first commit"):
        engine.infer(rgb)
    engine.prepare(engine_set(1))
    with pytest.raises(EngineError, match="before the first commit"):
        engine.infer(rgb)


def test_commit_without_prepare_is_an_error_and_changes_nothing(engine, engine_set, rgb):
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()
    serve(engine, engine_set(1))
    before = answer(engine, rgb)
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()
    np.testing.assert_array_equal(answer(engine, rgb), before)


def test_prepare_alone_changes_nothing(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    before = answer(engine, rgb)
    engine.prepare(engine_set(2))
    np.testing.assert_array_equal(answer(engine, rgb), before)
    assert engine.infer(rgb).mix == engine_set(1).mix
    engine.commit()
    assert not np.array_equal(answer(engine, rgb), before)
    assert engine.infer(rgb).mix == engine_set(2).mix


def test_the_last_prepared_set_is_the_one_committed(engine, engine_set, rgb):
    engine.prepare(engine_set(1))
    serve(engine, engine_set(2))
    expected = answer(engine, rgb)
    serve(engine, engine_set(3))
    engine.prepare(engine_set(1))
    serve(engine, engine_set(2))
    np.testing.assert_array_equal(answer(engine, rgb), expected)


def test_there_and_back_is_bit_identical(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    first = answer(engine, rgb)
    for seed in (2, 3, 1):
        serve(engine, engine_set(seed, names=("road", "sky", "car", "tree")[: seed + 1]))
    serve(engine, engine_set(1))
    np.testing.assert_array_equal(answer(engine, rgb), first)


def test_a_set_that_touches_less_gets_the_base_weights_back(engine, engine_set, rgb):
    few = engine_set(1, touched=1)
    none = engine_set(1, touched=0)
    expected = {}
    for weight_set in (few, none):
        serve(engine, weight_set)
        serve(engine, weight_set)
        expected[len(weight_set.weights.names)] = answer(engine, rgb)
    for _ in range(2):
        for weight_set in (engine_set(5), few, engine_set(6), engine_set(7), none):
            serve(engine, weight_set)
            if len(weight_set.weights.names) < 2:
                got = answer(engine, rgb)
                np.testing.assert_array_equal(got, expected[len(weight_set.weights.names)])


def broken_sets(engine_set):
    good = engine_set(2)
    last, weight = list(good.weights.arrays.items())[-1]
    stranger = ArrayWeights({**good.weights.arrays, "no.such.layer": weight})
    text = good.text_features.copy()
    text[:, :1] = np.inf
    broken = {
        "unknown layer": replace(good, weights=stranger),
        "transposed": replace(good, weights=ArrayWeights({last: weight.T})),
        "float64 text": replace(good, text_features=good.text_features.astype(np.float64)),
    }
    if text.size:
        broken["infinite text feature"] = replace(good, text_features=text)
    return broken


def test_a_set_that_does_not_fit_is_refused_before_anything_is_written(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    before = answer(engine, rgb)
    engine.prepare(engine_set(3))
    for what, bad in broken_sets(engine_set).items():
        with pytest.raises(EngineError, match="expected"):
            engine.prepare(bad)
        np.testing.assert_array_equal(answer(engine, rgb), before, err_msg=what)
    engine.commit()
    assert engine.infer(rgb).mix == engine_set(3).mix


def test_a_failure_while_writing_keeps_the_old_set_and_publishes_nothing(
    engine, engine_set, rgb, monkeypatch
):
    serve(engine, engine_set(1))
    before = answer(engine, rgb)
    whole = engine._prepare_impl

    def half(index, weight_set):
        first = dict(list(weight_set.weights.arrays.items())[:1])
        whole(index, replace(weight_set, weights=ArrayWeights(first)))
        raise OSError("the disk is gone")

    engine.prepare(engine_set(2))
    monkeypatch.setattr(engine, "_prepare_impl", half)
    with pytest.raises(OSError, match="disk"):
        engine.prepare(engine_set(3))
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()
    np.testing.assert_array_equal(answer(engine, rgb), before)
    monkeypatch.undo()
    for touched in (1, 0):
        serve(engine, engine_set(4, touched=touched))
        got = answer(engine, rgb)
        serve(engine, engine_set(4, touched=touched))
        np.testing.assert_array_equal(answer(engine, rgb), got)


class Breaking:
    """Weights of which writing number `at` fails."""

    def __init__(self, weights, at: int) -> None:
        self._weights, self.left = weights, at
        self.names, self.shape, self.factors = weights.names, weights.shape, weights.factors

    def write(self, layer, **where):
        if self.left == 0:
            raise EngineError("the adapter file is gone")
        self.left -= 1
        self._weights.write(layer, **where)


def test_a_failure_at_any_step_of_prepare_is_repaired_by_the_next(engine, engine_set, rgb):
    """Weights fail to be written one step later each time, until prepare gets through."""
    reference, good = engine_set(1), engine_set(2)
    serve(engine, good)
    expected = answer(engine, rgb)
    counting = Breaking(engine_set(3).weights, -1)
    engine.prepare(replace(engine_set(3), weights=counting))
    serve(engine, reference)
    before = answer(engine, rgb)
    steps = -1 - counting.left
    assert steps >= 2, "each of the two weights is written at least once"
    for step in range(steps):
        breaking = Breaking(engine_set(3).weights, step)
        with pytest.raises(EngineError, match="gone"):
            engine.prepare(replace(engine_set(3), weights=breaking))
        with pytest.raises(EngineError, match="without a prepared"):
            engine.commit()
        np.testing.assert_array_equal(answer(engine, rgb), before, err_msg=f"step {step}")
    serve(engine, good)
    np.testing.assert_array_equal(answer(engine, rgb), expected)


def test_a_failed_commit_keeps_the_old_set(engine, engine_set, rgb, monkeypatch):
    serve(engine, engine_set(1))
    before = answer(engine, rgb)

    def fail(slot):
        raise EngineError("not now")

    engine.prepare(engine_set(2))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_commit_impl", fail)
        with pytest.raises(EngineError, match="not now"):
            engine.commit()
    np.testing.assert_array_equal(answer(engine, rgb), before)
    assert engine.active.mix == engine_set(1).mix


def test_random_orders_of_prepare_and_commit_serve_what_was_committed(engine, engine_set, rgb):
    rng = np.random.default_rng(11)
    names = ("road", "sky", "car", "tree")
    sets = [engine_set(seed, touched=seed % 3, names=names[: 2 + seed % 2]) for seed in range(6)]
    expected = {}
    for each in sets:
        serve(engine, each)
        expected[each.mix] = answer(engine, rgb)
    active = sets[-1].mix
    for _ in range(60):
        chosen = sets[rng.integers(len(sets))]
        engine.prepare(chosen)
        if rng.random() < 0.5:
            engine.commit()
            active = chosen.mix
        prediction = engine.infer(rgb, keep_logits=True)
        assert prediction.mix == active
        np.testing.assert_array_equal(prediction.logits, expected[active])


def test_a_probe_answers_without_publishing(engine, engine_set, rgb):
    serve(engine, engine_set(2))
    expected = answer(engine, rgb)
    serve(engine, engine_set(1))
    before = answer(engine, rgb)
    np.testing.assert_array_equal(engine.probe(engine_set(2), rgb), expected)
    np.testing.assert_array_equal(answer(engine, rgb), before)
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()


def test_the_vocabulary_changes_with_the_set(engine, engine_set, rgb):
    if engine.facts.feature_dim == 0:
        pytest.skip("its class list is closed, see test_closed_classes.py")
    serve(engine, engine_set(1, names=("road", "sky")))
    assert engine.infer(rgb).vocabulary.names == ("road", "sky")
    names = tuple(f"class {i}" for i in range(256))
    serve(engine, engine_set(2, names=names))
    prediction = engine.infer(rgb)
    assert prediction.labels.dtype == np.uint16
    assert len(prediction.vocabulary.names) == 256


def test_a_closed_engine_says_so(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    engine.close()
    engine.close()
    for call in (lambda: engine.infer(rgb), lambda: engine.prepare(engine_set(1)), engine.commit):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_a_proof_answers_for_the_prepared_set_and_publishes_nothing(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    before = answer(engine, rgb)
    engine.prepare(engine_set(2))
    proved = engine.prove(rgb)
    np.testing.assert_array_equal(answer(engine, rgb), before)
    engine.commit()
    if proved is None:
        assert NOT_PROVED in engine.status.detail
        return
    tolerance = 5e-2 if engine.facts.precision != "f32" else 1e-5
    error = np.linalg.norm(proved - answer(engine, rgb)) / np.linalg.norm(proved)
    assert error < tolerance


def test_there_is_no_proof_of_nothing(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    with pytest.raises(EngineError, match="without a prepared"):
        engine.prove(rgb)
