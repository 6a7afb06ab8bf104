"""A navigator bundle with a real, tiny ONNX graph."""

import numpy as np
import pytest
from fakes import tiny_manifest

from semla_ros.bundle import ModelBundle, NavigatorSpec

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture
def spec():
    return NavigatorSpec("clip-tiny:center_crop", 16, "center_crop", CLIP_MEAN, CLIP_STD, 4)


@pytest.fixture
def projection():
    """(3 * 16 * 16, 4), what the tiny encoder multiplies its pixels with."""
    return np.random.default_rng(0).standard_normal((768, 4)).astype(np.float32) / 16


@pytest.fixture
def make_bundle(tmp_path, spec, projection):
    """Return a function: navigator spec, weights, output, batch -> a bundle with that graph."""

    def make(navigator=spec, weights=projection, output="embedding", batch=1):
        onnx = pytest.importorskip("onnx")
        helper = onnx.helper
        graph = helper.make_graph(
            [
                helper.make_node("Flatten", ["image"], ["flat"]),
                helper.make_node("MatMul", ["flat", "weights"], [output]),
            ],
            "navigator",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [batch, 3, 16, 16])],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(weights, "weights")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, tmp_path / "navigator.onnx")
        return ModelBundle(tmp_path, tiny_manifest(navigator=navigator))

    return make
