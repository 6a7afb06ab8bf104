"""An encoder in an ONNX file as the navigator: its ends, its size, its identity, its faults."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

for package in ("torch", "onnx"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: scripts/setup --dev", allow_module_level=True)

import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from semla_ros.core.errors import ConfigError, TrainingError  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import NavigatorRequest, requested  # noqa: E402
from semla_ros.prepare.bundler.onnx_navigator import OnnxInput, load_onnx  # noqa: E402
from semla_ros.prepare.bundler.subgraph import answers  # noqa: E402

SIZE, DIM = 16, 6
GIVEN = OnnxInput(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3))
KERNEL = np.random.default_rng(0).normal(size=(DIM, 3, 4, 4)).astype(np.float32)


def write(path, *, sides=(SIZE, SIZE), pooled="GlobalAveragePool", ends=("pixels", "features")):
    """Write a network of one convolution that pools to (1, DIM, 1, 1)."""
    source, answer = ends
    nodes = [
        helper.make_node("Conv", [source, "kernel"], ["map"], strides=[4, 4]),
        helper.make_node(pooled, ["map"], [answer]),
    ]
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, ["N", 3, *sides])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["N", DIM, "h", "w"])],
        [numpy_helper.from_array(KERNEL, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def expected(image):
    blocks = image[0].reshape(3, SIZE // 4, 4, SIZE // 4, 4)
    return np.einsum("cyixj,ocij->oyx", blocks, KERNEL).mean(axis=(1, 2))


@pytest.mark.parametrize("ends", [("pixels", "features"), ("image", "embedding"), ("a", "image")])
def test_the_graph_answers_under_the_robots_names(tmp_path, ends):
    parts = load_onnx(f"onnx:{write(tmp_path / 'own.onnx', ends=ends)}", GIVEN, resize=None)
    image = np.random.default_rng(1).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
    ((answer,),) = answers(parts.encoder, [image], ["embedding"])
    np.testing.assert_allclose(answer[0], expected(image), rtol=1e-4, atol=1e-4)
    assert [each.name for each in parts.encoder.graph.input] == ["image"]
    assert (parts.spec.dim, parts.spec.size, parts.spec.resize) == (DIM, SIZE, "center_crop")
    assert (parts.spec.mean, parts.spec.std) == (GIVEN.mean, GIVEN.std)


def test_the_identity_follows_file_and_preprocessing(tmp_path):
    name = f"onnx:{write(tmp_path / 'own.onnx')}"
    one = load_onnx(name, GIVEN, resize=None).spec.identity
    assert one.startswith("onnx/own:")
    assert load_onnx(name, GIVEN, resize=None).spec.identity == one
    assert load_onnx(name, GIVEN, resize="squash").spec.identity == f"{one}+squash"
    brighter = replace(GIVEN, mean=(0.6, 0.4, 0.3))
    assert load_onnx(name, brighter, resize=None).spec.identity != one
    write(tmp_path / "own.onnx", ends=("pixels", "other"))
    assert load_onnx(name, GIVEN, resize=None).spec.identity != one


def test_an_open_size_is_asked_for(tmp_path):
    name = f"onnx:{write(tmp_path / 'own.onnx', sides=('h', 'w'))}"
    with pytest.raises(TrainingError, match="give --navigator-size"):
        load_onnx(name, GIVEN, resize=None)
    assert load_onnx(name, replace(GIVEN, size=32), resize=None).spec.size == 32
    fixed = f"onnx:{write(tmp_path / 'fixed.onnx')}"
    with pytest.raises(TrainingError, match=r"\(16, 16\) in the graph and 32"):
        load_onnx(fixed, replace(GIVEN, size=32), resize=None)


def test_statistics_of_its_early_layers_are_to_be_had(tmp_path):
    name = f"onnx:{write(tmp_path / 'own.onnx')}"
    parts = requested(NavigatorRequest(name, features="both", onnx=GIVEN))
    assert parts.spec.dim == DIM + 2 * DIM
    assert parts.spec.identity.endswith("+both")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": None}, "expected --navigator-mean and --navigator-std"),
        ({"std": (0.2, 0.0, 0.2)}, r"--navigator-std \(above 0\)"),
    ],
)
def test_the_normalisation_is_asked_for(tmp_path, changes, message):
    name = f"onnx:{write(tmp_path / 'own.onnx')}"
    with pytest.raises(TrainingError, match=message):
        load_onnx(name, replace(GIVEN, **changes), resize=None)


def text(path):
    path.write_text("no graph at all")


def two_inputs(path):
    model = onnx.load(str(write(path)))
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    onnx.save(model, str(path))


def a_map(path):
    write(path, pooled="Relu")


def outside(path):
    model = onnx.load(str(write(path)))
    onnx.save(model, str(path), save_as_external_data=True, size_threshold=0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda _: None, "expected an ONNX file, found none"),
        (text, "is no sound ONNX graph"),
        (two_inputs, "expected one input, an image"),
        (a_map, r"expected a first output of one vector \(1, D\), got \(1, 6, 4, 4\)"),
        (outside, "expected its weights inside, got 1 in other files"),
    ],
)
def test_unfit_files_are_one_line(tmp_path, fault, message):
    fault(tmp_path / "own.onnx")
    with pytest.raises(TrainingError, match=message) as caught:
        load_onnx(f"onnx:{tmp_path / 'own.onnx'}", GIVEN, resize=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "onnx:a.onnx", "checkpoint": "b"}, "has no use for --navigator-checkpoint"),
        ({"name": "ViT-B-32", "onnx": GIVEN}, "'ViT-B-32' has no use for --navigator-mean"),
    ],
)
def test_options_of_others_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        NavigatorRequest(**changes)
