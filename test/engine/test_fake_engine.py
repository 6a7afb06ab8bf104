import numpy as np
import pytest

from semla_ros.core.errors import ConfigError, EngineError
from semla_ros.core.types import AdapterMix, Vocabulary
from semla_ros.core.weights import UNCHANGED, WeightSet
from semla_ros.engine.fake_engine import STEPS, FakeEngine, looks


def a_set(mean: float, *names: str) -> WeightSet:
    names = names or ("sky", "tree", "road", "person")
    classes = Vocabulary(names, np.zeros((len(names), 3), np.uint8))
    features = np.full((len(names), 4), mean, np.float32)
    return WeightSet(AdapterMix((f"m{mean}",), (1.0,)), UNCHANGED, features, classes)


@pytest.fixture
def scene():
    """Blue above, green in the middle, dark grey below."""
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:20], rgb[20:40], rgb[40:] = (90, 140, 230), (60, 140, 50), (70, 70, 75)
    return rgb


def test_masks_look_like_the_scene(scene):
    with FakeEngine() as engine:
        engine.prepare(a_set(0.1))
        engine.commit()
        labels = engine.infer(scene).labels
    assert [int(labels[row, 5]) for row in (5, 32, 60)] == [0, 1, 2]


def test_every_colour_has_one_look():
    rgb = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert set(np.unique(looks(rgb))) == set(range(6))


def test_one_class_is_enough(scene):
    with FakeEngine() as engine:
        engine.prepare(a_set(0.1, "anything"))
        engine.commit()
        assert not engine.infer(scene).labels.any()


def swap_and_infer(engine, weight_set, rgb):
    engine.prepare(weight_set)
    engine.commit()
    engine.infer(rgb)


@pytest.mark.parametrize("step", STEPS)
def test_failing_at_a_step_keeps_the_old_set(scene, step):
    with FakeEngine() as engine:
        engine.prepare(a_set(0.1))
        engine.commit()
        before = engine.infer(scene, keep_logits=True)
        engine.fail_at = {step}
        with pytest.raises(EngineError, match=step):
            swap_and_infer(engine, a_set(0.9), scene)
        engine.fail_at = ()
        after = engine.infer(scene, keep_logits=True)
        if step == "infer":
            assert after.mix == a_set(0.9).mix
        else:
            assert after.mix == before.mix
            np.testing.assert_array_equal(after.logits, before.logits)


def test_an_unknown_step_is_refused():
    with pytest.raises(ConfigError, match="nowhere"):
        FakeEngine(fail_at=["nowhere"])
