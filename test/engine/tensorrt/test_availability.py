"""Each missing thing is named: package, libraries, driver, GPU; nothing is imported in vain."""

import ctypes
import importlib.util
import subprocess
import sys

import pytest
from small_bundle import small_bundle

from semla_ros.core.errors import EngineUnavailableError
from semla_ros.engine import create_engine
from semla_ros.engine.tensorrt.toolkit import logger_of

HERE = importlib.util.find_spec("tensorrt") is not None


@pytest.mark.skipif(HERE, reason="tensorrt is installed: nothing is missing")
def test_without_the_package_it_is_named(hand_made):
    with pytest.raises(EngineUnavailableError, match="pip install tensorrt"):
        create_engine("tensorrt", hand_made.bundle)


def test_a_package_that_does_not_load_says_which_library(hand_made, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineUnavailableError, match=r"libnvinfer\.so\.10"):
        create_engine("tensorrt", hand_made.bundle)


def test_a_tensorrt_before_8_5_is_refused(gpu, hand_made):
    del gpu.trt.IExecutionContext.execute_async_v3
    gpu.trt.__version__ = "8.4.1"
    with pytest.raises(EngineUnavailableError, match=r"8\.5 or newer, got 8\.4\.1"):
        create_engine("tensorrt", hand_made.bundle)


def test_a_runtime_that_does_not_start_is_told(gpu, hand_made, monkeypatch):
    def null(logger):
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(gpu.trt, "Runtime", null)
    with pytest.raises(EngineUnavailableError, match="does not start on Fake GPU"):
        create_engine("tensorrt", hand_made.bundle)
    assert gpu.driver.left == (0, 0, 0, 0)


def test_a_machine_without_a_gpu_is_told(gpu, hand_made):
    gpu.driver.devices = 0
    with pytest.raises(EngineUnavailableError, match="an NVIDIA GPU, the driver sees none"):
        create_engine("tensorrt", hand_made.bundle)
    gpu.driver.fail["cuInit"] = 1
    with pytest.raises(EngineUnavailableError, match=r"INVALID_VALUE \(1\).*nvidia-smi"):
        create_engine("tensorrt", hand_made.bundle)


def test_a_machine_without_a_driver_is_told(gpu, hand_made, monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(EngineUnavailableError, match=r"libcuda\.so\.1.*install the driver"):
        create_engine("tensorrt", hand_made.bundle)


def test_a_cpu_robot_loads_nothing_of_tensorrt(tmp_path):
    code = (
        "import sys\n"
        "from semla_ros.core.config import Config\n"
        "from semla_ros.pipeline import build_pipeline\n"
        "build_pipeline(Config(bundle=sys.argv[1], engine='onnx', threads=1)).close()\n"
        "print([name for name in sys.modules if 'tensorrt' in name])\n"
    )
    bundle = small_bundle(tmp_path / "bundle")
    command = [sys.executable, "-c", code, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tensorrts_messages_go_to_the_log(gpu, caplog):
    logger, severity = logger_of(gpu.trt), gpu.trt.ILogger.Severity
    with caplog.at_level("DEBUG"):
        for each in severity:
            logger.log(each, each.name)
    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [
        ("ERROR", "TensorRT: INTERNAL_ERROR"),
        ("ERROR", "TensorRT: ERROR"),
        ("WARNING", "TensorRT: WARNING"),
        ("DEBUG", "TensorRT: INFO"),
        ("DEBUG", "TensorRT: VERBOSE"),
    ]
