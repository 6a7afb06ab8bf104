import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from semla_ros.core import executors
from semla_ros.core.executors import (
    BACKGROUND_NICENESS,
    BackgroundExecutor,
    InlineExecutor,
    use_one_blas_thread,
)


def test_inline_runs_at_once_on_the_same_thread_and_keeps_exceptions():
    executor = InlineExecutor()
    assert executor.submit(threading.get_ident).result(0) == threading.get_ident()
    failed = executor.submit(int, "x")
    assert isinstance(failed.exception(0), ValueError)


@pytest.mark.skipif(sys.platform != "linux", reason="needs niceness per thread (Linux)")
def test_the_background_thread_is_nice_and_the_frame_loop_is_not():
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with BackgroundExecutor("test") as executor:
        assert executor.submit(own).result(30) == max(before, BACKGROUND_NICENESS)
    assert own() == before


def test_a_library_below_a_folder_with_a_space_is_found(tmp_path, monkeypatch):
    maps = Path("/proc/self/maps")
    if not maps.exists() or use_one_blas_thread() == 0:
        pytest.skip("numpy here has no OpenBLAS, or the system no /proc/self/maps")
    lines = maps.read_text().splitlines()
    real = next(line.split(maxsplit=5)[-1] for line in lines if "openblas" in line)
    spaced = tmp_path / "my robot"
    spaced.mkdir()
    (spaced / "libopenblas.so").symlink_to(real)
    listed = tmp_path / "maps"
    listed.write_text(f"00-01 r--p 00000000 00:01 7                  {spaced}/libopenblas.so\n")
    monkeypatch.setattr(executors, "_MAPS", listed)
    assert use_one_blas_thread() == 1


def test_numpy_multiplies_on_the_calling_thread_alone():
    """In a process of its own: the setting is for all of it."""
    program = (
        "import time, numpy as np\n"
        "from semla_ros.core.executors import use_one_blas_thread\n"
        "found = use_one_blas_thread()\n"
        "a = np.ones((1500, 1500), np.float32)\n"
        "time.sleep(0.3)  # threads that OpenBLAS has started spin for a while\n"
        "mine, all_of_it = time.thread_time(), time.process_time()\n"
        "for _ in range(10): a @ a\n"
        "mine, all_of_it = time.thread_time() - mine, time.process_time() - all_of_it\n"
        "print(found, all_of_it / mine)\n"
    )
    words = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=words
    )
    found, share = run.stdout.split()
    if int(found) == 0:
        pytest.skip("numpy here has no OpenBLAS")
    assert float(share) < 1.5, "a second thread would make it 2"
