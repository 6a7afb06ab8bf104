"""LayerScale in the weights: the same answers, and no scaling after a product."""

import importlib.util

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("needs torch: scripts/setup --dev", allow_module_level=True)
onnx = pytest.importorskip("onnx", reason="needs onnx: scripts/setup --dev")

import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from semla_ros.prepare.bundler.transformers.scaled_products import scale_weights  # noqa: E402

RNG = np.random.default_rng(0)
W, BIAS, SCALE = RNG.normal(size=(4, 6)), RNG.normal(size=6), RNG.normal(size=6)
X = RNG.normal(size=(1, 5, 4)).astype(np.float32)


def graph(nodes, outputs=("y",)):
    constants = {"w": W, "bias": BIAS, "scale": SCALE, "one": np.array([2.0])}
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, [1, 5, 4]), value("w", TensorProto.FLOAT, [4, 6])]
    ends = [value(name, TensorProto.FLOAT, [1, 5, 6]) for name in outputs]
    made = helper.make_graph([helper.make_node(*n) for n in nodes], "g", inputs, ends, tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model


PRODUCT = ("MatMul", ["x", "w"], ["p"])


def run(model, **feed):
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(["y"], {"x": X, **feed})[0]


@pytest.mark.parametrize("order", [("p", "bias"), ("bias", "p")])
@pytest.mark.parametrize("scaling", [("s", "scale"), ("scale", "s")])
def test_scaled_products_answer_as_before_with_any_weight(order, scaling):
    nodes = [PRODUCT, ("Add", list(order), ["s"]), ("Mul", list(scaling), ["y"])]
    before, after = graph(nodes), graph(nodes)
    assert scale_weights(after.graph, {"w"}) == 1
    products = [node.op_type for node in after.graph.node]
    assert products == ["Mul", "MatMul", "Add"]  # the weight is scaled, nothing after it
    kept = {each.name for each in after.graph.initializer}
    assert kept & {"w", "one", "bias", "scale"} == {"w", "one"}  # nothing reads the old two
    for weight in (W.astype(np.float32), RNG.normal(size=(4, 6)).astype(np.float32)):
        np.testing.assert_allclose(run(after, w=weight), run(before, w=weight), atol=1e-5)


@pytest.mark.parametrize(
    "nodes",
    [
        [PRODUCT, ("Add", ["p", "bias"], ["s"]), ("Mul", ["s", "one"], ["y"])],
        [PRODUCT, ("Add", ["p", "bias"], ["s"]), ("Mul", ["s", "s"], ["y"])],
        [PRODUCT, ("Mul", ["p", "scale"], ["y"])],
        [
            PRODUCT,
            ("Add", ["p", "bias"], ["s"]),
            ("Mul", ["s", "scale"], ["m"]),
            ("Add", ["m", "s"], ["y"]),
        ],
    ],
    ids=["a number", "no constant", "no bias", "read twice"],
)
def test_anything_else_stays_as_it_is(nodes):
    before, after = graph(nodes), graph(nodes)
    assert scale_weights(after.graph, {"w"}) == 0
    assert after == before


def test_weights_that_stay_are_left_alone():
    nodes = [PRODUCT, ("Add", ["p", "bias"], ["s"]), ("Mul", ["s", "scale"], ["y"])]
    model = graph(nodes)
    assert scale_weights(model.graph, {"another"}) == 0
