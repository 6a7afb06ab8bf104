"""A process watched from outside, and samples with a known answer."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semla_ros.bench.resources import Sample, Sampler, sample, usage_of
from semla_ros.errors import EvaluationError

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")


def samples(*, rise_mib=0.0, cores=0.5, count=50):
    return [
        Sample(
            float(i),
            100 + i * cores,
            (300 + rise_mib * i / 3600) * 2**20,
            1000 + i * 0.4,
            2000 + i * 2.0,
        )
        for i in range(count)
    ]


def test_samples_add_up():
    used = usage_of(samples(rise_mib=7.0), threads=3, switches=(10, 2))
    assert used.cpu_percent == pytest.approx(50)
    assert used.rss_mib == pytest.approx(300, abs=0.2)
    assert used.ended_s == 49.0
    assert used.ros2["ResourceMetrics.MEAN_OVERALL_CPU_UTILIZATION"] == pytest.approx(20)
    assert used.ros2["ResourceMetrics.STDDEV_OVERALL_CPU_UTILIZATION"] == pytest.approx(
        0, abs=1e-6
    )


def test_one_sample_is_not_enough():
    with pytest.raises(EvaluationError, match="two samples"):
        usage_of(samples(count=1), threads=1, switches=(0, 0))


def test_a_busy_process_is_seen_to_be_busy():
    spin = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin + "\ntime.sleep(30)"]) as process:
        try:
            began = time.monotonic()
            with Sampler(process.pid, period_s=0.02) as sampler:
                while sample(process.pid).cpu_s < 0.5 and time.monotonic() < began + 60:
                    time.sleep(0.02)
            used, seconds = sampler.usage(), time.monotonic() - began
        finally:
            process.kill()
    assert used.cpu_percent * seconds / 100 > 0.3
    assert used.rss_mib > 1
    assert used.threads == 1


def test_a_process_that_is_gone_is_named():
    with pytest.raises(EvaluationError, match="is gone"):
        sample(2**22 + 1)
    assert sample(os.getpid()).rss_bytes > 0
