import os
import sys

import pytest

from semla_ros.bundle.onnx_session import cpu_threads, open_session
from semla_ros.core.errors import BundleError


@pytest.mark.skipif(sys.platform != "linux", reason="needs the cores of a process (Linux)")
@pytest.mark.parametrize(("usable", "threads"), [(8, 7), (2, 1), (1, 1)])
def test_zero_threads_leave_one_of_the_usable_cores_to_the_robot(monkeypatch, usable, threads):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)))
    assert cpu_threads(0) == threads
    assert cpu_threads(3) == 3


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path):
    path = tmp_path / "broken.onnx"
    with pytest.raises(BundleError, match=r"broken\.onnx"):
        open_session(path, threads=1)
    path.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"broken\.onnx.*does not load"):
        open_session(path, threads=1)
