"""The real graphs, rewritten with the real onnx package and run in ONNX Runtime."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from semla_ros.bundle import open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import BundleError
from semla_ros.engine.golden import golden_case
from semla_ros.engine.tensorrt.graph import load_graph, prepared_graph, save_graph
from semla_ros.engine.tensorrt.half import HALF_OPERATORS, to_half
from semla_ros.engine.tensorrt.norms import spell_out_norms
from semla_ros.engine.tensorrt.plans import PlanRequest
from semla_ros.engine.weights import layers_of

DEMO = Path(__file__).parents[3] / "models" / "demo"


@pytest.fixture(scope="module")
def demo():
    if not (DEMO / "segmentation.onnx").is_file():
        pytest.skip("needs models/demo/segmentation.onnx")
    return open_bundle(DEMO, verify=False)


def prepare(bundle, *, mode="refit", precision="f32", **changes):
    wanted = PlanRequest.segmentation(bundle, mode, precision)
    return prepared_graph(wanted, **changes), wanted.weights


def run(model, feed):
    content = model if isinstance(model, str) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], feed)
    return logits


def inputs_of(model):
    return {
        value.name: tuple(d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim)
        for value in model.graph.input
    }


def ask(bundle):
    graph = onnx.load(bundle.segmentation_graph, load_external_data=False)
    width = inputs_of(graph)["text_features"][1]
    case, image = golden_case(bundle, feature_dim=width)
    picture = image.transpose(2, 0, 1)[None].astype(np.float32)
    return {"image": picture, "text_features": case.text_features}


def base_weights(bundle, dtype=np.float32):
    layers = layers_of(bundle, "segmentation")
    base = BaseWeights.open(bundle)
    return {x.initializer: base.as_stored(n).astype(dtype) for n, x in layers.items()}


@pytest.fixture(params=["hand_made", "demo"])
def bundle(request):
    found = request.getfixturevalue(request.param)
    return getattr(found, "bundle", found)


def relative(got, expected):
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def test_for_refit_no_initializer_is_an_input_and_nothing_else_changes(bundle):
    graph, weights = prepare(bundle)
    constants = {t.name for t in graph.graph.initializer}
    assert set(weights) <= constants
    assert not constants & set(inputs_of(graph))
    assert set(inputs_of(graph)) <= {"image", "text_features", "second_tap"}
    assert inputs_of(graph)["text_features"][0] == len(bundle.manifest.vocabulary.names)
    expected = run(str(bundle.segmentation_graph), ask(bundle))
    np.testing.assert_allclose(run(graph, ask(bundle)), expected, rtol=1e-4, atol=1e-4)


def test_for_inputs_every_weight_has_to_be_fed(bundle):
    graph, weights = prepare(bundle, mode="inputs")
    assert set(weights) < set(inputs_of(graph))
    assert not set(weights) & {t.name for t in graph.graph.initializer}
    feed = ask(bundle)
    with pytest.raises(ValueError, match="Required inputs"):
        run(graph, feed)
    feed |= base_weights(bundle)
    expected = run(str(bundle.segmentation_graph), ask(bundle))
    np.testing.assert_allclose(run(graph, feed), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["refit", "inputs"])
def test_the_cast_keeps_names_and_the_answer(bundle, mode):
    graph, weights = prepare(bundle, mode=mode, precision="f16")
    kinds = {t.name: t.data_type for t in graph.graph.initializer}
    fed = {v.name: v.type.tensor_type.elem_type for v in graph.graph.input}
    held = fed if mode == "inputs" else kinds
    assert {held[name] for name in weights} == {TensorProto.FLOAT16}
    assert fed["image"] == fed["text_features"] == TensorProto.FLOAT
    assert graph.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    feed = ask(bundle)
    if mode == "inputs":
        feed |= base_weights(bundle, np.float16)
    expected = run(str(bundle.segmentation_graph), ask(bundle))
    error = relative(run(graph, feed), expected)
    assert 0 < error < 2e-3


def test_norms_are_written_so_that_every_parser_reads_their_axes(demo):
    graph, _ = prepare(demo)
    kinds = [node.op_type for node in graph.graph.node]
    assert "ReduceL2" in [n.op_type for n in onnx.load(demo.segmentation_graph).graph.node]
    assert "ReduceL2" not in kinds
    (norm,) = (n for n in graph.graph.node if n.output[0].endswith("::total"))
    assert [(a.name, a.i) for a in norm.attribute if a.name == "keepdims"] == [("keepdims", 1)]


@pytest.mark.parametrize("mode", ["refit", "inputs"])
def test_layer_norms_are_spelt_out_for_parsers_that_do_not_know_them(demo, mode):
    """TensorRT 8.5, that of JetPack 5.1."""
    known, _ = prepare(demo, mode=mode)
    graph, _ = prepare(demo, mode=mode, layer_normalization=False)
    assert [n for n in known.graph.node if n.op_type == "LayerNormalization"]
    assert not [n for n in graph.graph.node if n.op_type == "LayerNormalization"]
    if mode == "refit":
        expected = run(known, ask(demo))
        np.testing.assert_allclose(run(graph, ask(demo)), expected, rtol=1e-4, atol=1e-4)


def layer_norm(*, shape, dims, axis, bias=True, outputs=("y",), epsilon=1e-5):
    rng = np.random.default_rng(0)
    value = helper.make_tensor_value_info
    names = ["scale", "bias"] if bias else ["scale"]
    node = helper.make_node(
        "LayerNormalization", ["x", *names], list(outputs), axis=axis, epsilon=epsilon
    )
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", TensorProto.FLOAT, shape)],
        [value(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(rng.standard_normal(dims, np.float32), n) for n in names],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dims", "axis"), [((48,), -1), ((7, 48), -2)])
def test_a_spelt_out_layer_norm_is_the_operator(dims, axis, bias):
    rng = np.random.default_rng(1)
    x = 30 * rng.standard_normal((2, 3, 7, 48), np.float32) + 100
    model = layer_norm(shape=x.shape, dims=dims, axis=axis, bias=bias, epsilon=0.5)

    def answer():
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return session.run(None, {"x": x})[0]

    expected = answer()
    spell_out_norms(model, layer_normalization=False)
    assert "LayerNormalization" not in {n.op_type for n in model.graph.node}
    onnx.checker.check_model(model)
    np.testing.assert_allclose(answer(), expected, rtol=1e-4, atol=1e-4)


def test_a_spelt_out_layer_norm_stays_within_fp16():
    """The sum of 768 squares of this size would be ten times the largest FP16."""
    rng = np.random.default_rng(1)
    x = 30 * rng.standard_normal((4, 768), np.float32) + 100
    assert (np.square(x - x.mean(axis=-1, keepdims=True)).sum(axis=-1) > 65504).all()
    model = layer_norm(shape=x.shape, dims=(768,), axis=-1)
    spell_out_norms(model, layer_normalization=False)
    steps = [name for node in model.graph.node[:-1] for name in node.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in steps)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for name, values in zip(["y", *steps], session.run(None, {"x": x}), strict=True):
        assert np.abs(values).max() < 65504, name


@pytest.mark.parametrize(
    ("axis", "outputs"), [(1, ("y",)), (-1, ("y", "mean"))], ids=["other axes", "two outputs"]
)
def test_a_layer_norm_that_cannot_be_spelt_out_is_named(axis, outputs):
    model = layer_norm(shape=(2, 3, 48), dims=(48,), axis=axis, outputs=outputs)
    with pytest.raises(BundleError, match=r"got 'y': take TensorRT 8\.6"):
        spell_out_norms(model, layer_normalization=False)


def test_only_products_and_convolutions_are_cast(demo):
    before, _ = prepare(demo)
    graph, _ = prepare(demo, precision="f16")
    plain = [n.op_type for n in before.graph.node]
    casts = ("::half", "::narrow")
    kept = [n.op_type for n in graph.graph.node if not n.output[0].endswith(casts)]
    kept = [t for t in kept if t != "Cast"]
    others = [t for t in plain if t not in HALF_OPERATORS and t != "Cast"]
    assert kept == others
    halved = [n for n in graph.graph.node if n.op_type in HALF_OPERATORS]
    assert len(halved) == sum(t in HALF_OPERATORS for t in plain)
    assert all(n.output[0].endswith("::narrow") for n in halved)
    scales = [n.input[1] for n in graph.graph.node if n.op_type == "LayerNormalization"]
    kinds = {t.name: t.data_type for t in graph.graph.initializer}
    assert {kinds[name] for name in scales} == {TensorProto.FLOAT}


def test_a_weight_that_is_not_there_is_named(hand_made):
    first, *others = hand_made.bundle.manifest.layers
    layers = (replace(first, initializer="lora"), *others)
    manifest = replace(hand_made.bundle.manifest, layers=layers)
    with pytest.raises(BundleError, match="'lora'"):
        prepare(replace(hand_made.bundle, manifest=manifest))


def tiny_model(weight, op="MatMul"):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node(op, ["x", "w"], ["y"]),
            helper.make_node("Add", ["y", "w2"], ["z"]),
        ],
        "g",
        [value("x", TensorProto.FLOAT, [2, 2])],
        [value("z", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight, "w2")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_a_weight_beyond_fp16_is_refused_by_name():
    with pytest.raises(BundleError, match=r"'w'.*65504"):
        to_half(tiny_model(np.full((2, 2), 7e4, np.float32)), inputs=())


def test_what_others_read_too_stays_fp32():
    model = tiny_model(np.eye(2, dtype=np.float32))
    model.graph.node[1].input[1] = "w"
    to_half(model, inputs=())
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert kinds["w"] == TensorProto.FLOAT
    onnx.checker.check_model(model)


def test_tensors_go_beside_and_come_back(hand_made, tmp_path):
    graph, _ = prepare(hand_made.bundle)
    expected = run(graph, ask(hand_made.bundle))
    path = tmp_path / "graph.onnx"
    save_graph(graph, path)
    assert (tmp_path / "graph.onnx.data").is_file()
    np.testing.assert_array_equal(run(load_graph(path), ask(hand_made.bundle)), expected)
    path.rename(tmp_path / "other.onnx")
    with pytest.raises(BundleError, match=r"other\.onnx\.data"):
        load_graph(tmp_path / "other.onnx")


def test_a_navigator_of_several_images_becomes_one_of_one(demo, tmp_path):
    model = onnx.load(demo.navigator_graph)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for path in demo.root.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / demo.navigator_graph.name).unlink()
    onnx.save(model, tmp_path / demo.navigator_graph.name)
    wanted = PlanRequest(replace(demo, root=tmp_path), "navigator", "constant", "f16")
    graph = prepared_graph(wanted)
    side = demo.manifest.navigator.size
    assert inputs_of(graph) == {"image": (1, 3, side, side)}
    assert graph.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_of_a_shared_embedding_nothing_is_left(demo, tmp_path):
    """The navigator's own graph runs aside: TensorRT is asked for logits alone."""
    model = onnx.load(demo.segmentation_graph)
    model.graph.node.append(helper.make_node("ReduceMean", ["image"], ["embedding"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "segmentation.onnx")
    prepared, _ = prepare(replace(demo, root=tmp_path))
    assert [each.name for each in prepared.graph.output] == ["logits"]
