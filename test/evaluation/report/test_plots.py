"""Names of every kind reach the figures as they are."""

import numpy as np
import pytest

from semla_ros.evaluation.drawing import adapter_fills
from semla_ros.evaluation.report.plots import heatmap, lines, projection_plot

ODD = ("$x_^$", "_hidden", "a & <b>", "d\udce9j", "100 % $")


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_drawn_as_text(name):
    said = {"a & <b>": "a &amp; &lt;b&gt;", "d\udce9j": "d\\udce9j"}.get(name, name)
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    drawn = [
        lines({name: [(0.0, 1.0), (1.0, 2.0)]}, xlabel="x", ylabel="y"),
        heatmap(np.eye(2), rows=[name, "b"], columns=["a", name], xlabel="x", ylabel="y"),
        projection_plot(points, (name, name), points, (name, "b"), adapter_fills([name, "b"])),
    ]
    assert all(said in svg for svg in drawn)
