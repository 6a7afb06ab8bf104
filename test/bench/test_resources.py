"""A process watched from outside."""

import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from semla_ros.bench.resources import Sampler, peak_growth
from semla_ros.core.errors import EvaluationError


def test_a_busy_process_is_seen_to_be_busy():
    spin = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin + "\ntime.sleep(30)"]) as process:
        try:
            began = time.monotonic()
            sampler, watched = Sampler(process.pid), psutil.Process(process.pid)
            while sum(watched.cpu_times()[:2]) < 0.5 and time.monotonic() < began + 60:
                time.sleep(0.02)
            used, seconds = sampler.usage(), time.monotonic() - began
        finally:
            process.kill()
    assert used.cpu_percent * seconds / 100 > 0.3
    assert used.rss_mib > 1
    assert used.threads == 1
    assert used.forced >= 0


def test_a_process_that_is_gone_is_named():
    with pytest.raises(EvaluationError, match="is gone"):
        Sampler(2**22 + 1)


def test_a_block_that_is_held_for_a_moment_is_a_peak():
    with peak_growth() as peak:
        block = np.ones(2**23)  # 64 MiB
        time.sleep(0.2)
        del block
    assert peak[0] > 50
