import numpy as np
import pytest

from semla_ros.bundle import GraphWeight
from semla_ros.engine.weights import graph_array, graph_shape, write_weight


@pytest.mark.parametrize("shape", [(5, 3), (1, 7), (7, 1), (1, 1), (300, 41)])
@pytest.mark.parametrize("transposed", [True, False])
def test_weights_reach_the_graph_bit_for_bit(shape, transposed):
    layer = GraphWeight("l", "l.weight", "segmentation", "l", transposed, shape)
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    weight.flags.writeable = False
    expected = weight.T if transposed else weight
    assert graph_shape(layer) == expected.shape
    np.testing.assert_array_equal(graph_array(weight, layer), expected)
    out = np.zeros(expected.shape, np.float32)
    write_weight(weight, layer, out=out)
    np.testing.assert_array_equal(out, expected)
