"""The whole engine on a simulated GPU: every version, both modes, both precisions."""

import numpy as np
import pytest

from semla_ros.engine.onnx_engine import OnnxEngine


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


@pytest.mark.parametrize("mode", ["refit", "inputs"])
@pytest.mark.parametrize(("precision", "bound"), [("f32", 1e-5), ("f16", 2e-2)])
def test_it_answers_as_onnx_runtime_does(
    simulation, hand_made, make_set, rgb, mode, precision, bound
):
    with (
        simulation.open(hand_made.bundle, mode=mode, precision=precision) as engine,
        OnnxEngine(hand_made.bundle, threads=1) as reference,
    ):
        for seed, touched in ((1, 2), (2, 1), (3, 0), (1, 2)):
            weight_set = make_set(seed, touched=touched)
            for each in (engine, reference):
                serve(each, weight_set)
            expected = answer(reference, rgb)
            error = np.linalg.norm(answer(engine, rgb) - expected) / np.linalg.norm(expected)
            assert error < bound
    assert simulation.driver.left == (0, 0, 0, 0, 0)
