import numpy as np

from semla_ros.core.types import Vocabulary
from semla_ros.core.weights import UNCHANGED, ArrayWeights
from semla_ros.engine.text import TextEncoder
from semla_ros.evaluation.frozen_text import FirstMixText


def vocabulary(*names):
    return Vocabulary(names, np.zeros((len(names), 3), np.uint8))


def test_the_first_weights_answer_for_all_and_a_new_class_list_anew(hand_made):
    exact = TextEncoder(hand_made.bundle)
    frozen = FirstMixText(TextEncoder(hand_made.bundle))
    rng = np.random.default_rng(5)
    one, other = (
        ArrayWeights({"text.fc": rng.normal(size=(32, 32)).astype(np.float32)}) for _ in range(2)
    )
    classes, others = vocabulary("road", "sky"), vocabulary("car", "sky")
    first = exact.encode(classes, one)
    np.testing.assert_array_equal(frozen.encode(classes, one), first)
    np.testing.assert_array_equal(frozen.encode(classes, other), first)
    np.testing.assert_array_equal(frozen.encode(classes, UNCHANGED), first)
    assert np.abs(exact.encode(classes, other) - first).max() > 0.1
    np.testing.assert_array_equal(frozen.encode(others, other), exact.encode(others, other))
    np.testing.assert_array_equal(frozen.encode(others, one), exact.encode(others, other))
