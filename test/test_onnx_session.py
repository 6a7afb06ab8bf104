import os

import pytest

from semla_ros.errors import BundleError
from semla_ros.onnx_session import cpu_threads, open_session


def test_zero_threads_leave_a_core_to_the_robot(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cpu_threads(0) == 7
    assert cpu_threads(3) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert cpu_threads(0) == 1


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path):
    path = tmp_path / "broken.onnx"
    with pytest.raises(BundleError, match=r"broken\.onnx"):
        open_session(path, threads=1)
    path.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"broken\.onnx.*does not load"):
        open_session(path, threads=1)
