"""The driver API wrapper: what it passes on, what it says when something is missing."""

import ctypes
import threading

import numpy as np
import pytest
from simulated_gpu.driver import FakeDriver

from semla_ros.engine.tensorrt.cuda import Cuda, CudaError, DeviceBuffer, PinnedArray
from semla_ros.engine.tensorrt.execution import Mirror
from semla_ros.errors import EngineUnavailableError


@pytest.fixture
def driver():
    return FakeDriver()


@pytest.fixture
def cuda(driver):
    made = Cuda(driver)
    yield made
    made.close()
    made.close()
    assert driver.left[-1] == 0


def test_the_device_is_described(cuda):
    device = cuda.device
    assert (device.name, device.compute_capability, device.driver) == ("Fake GPU", "8.7", 12)


def test_bytes_travel_to_the_device_and_back(cuda, driver):
    stream = cuda.stream(urgent=False)
    one, two = PinnedArray(cuda, 100), PinnedArray(cuda, 100)
    there = DeviceBuffer(cuda, 100)
    one.bytes[:] = np.arange(100)
    cuda.upload(there.pointer, one.pointer, 100, stream=stream)
    cuda.download(two.pointer, there.pointer, 100, stream=stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(two.bytes, np.arange(100))
    for each in (one, two, there):
        each.free()
        each.free()
    cuda.destroy_stream(stream)
    assert driver.left == (0, 0, 0, 0, 1)


def test_a_mirror_shows_smaller_shapes_in_the_same_memory(cuda):
    mirror = Mirror(cuda, (2, 6), np.float32)
    stream = cuda.stream(urgent=True)
    assert not mirror.host.any()
    mirror.reshape((3, 2))
    mirror.host[:] = 7
    mirror.upload(stream)
    mirror.host[:] = 0
    mirror.download(stream)
    assert (mirror.host == 7).all()
    mirror.reshape((2, 6))
    assert (mirror.host.reshape(-1)[:6] == 7).all()
    mirror.free()
    cuda.destroy_stream(stream)


def test_streams_have_the_priorities_of_the_device(cuda, driver):
    urgent, patient = cuda.stream(urgent=True), cuda.stream(urgent=False)
    assert (driver.streams[urgent], driver.streams[patient]) == (-5, 0)
    for stream in (urgent, patient):
        cuda.destroy_stream(stream)


def test_the_context_is_made_current_once_on_every_thread(cuda, driver):
    driver.calls.clear()
    for _ in range(3):
        assert cuda.free_bytes == driver.total
    assert driver.calls.count("cuCtxSetCurrent") == 0  # this thread has it from the start
    thread = threading.Thread(target=lambda: (cuda.free_bytes, cuda.free_bytes))
    thread.start()
    thread.join()
    assert driver.calls.count("cuCtxSetCurrent") == 1


def test_events_measure_the_device(cuda, driver):
    stream = cuda.stream(urgent=False)
    events = cuda.event(), cuda.event()
    for event in events:
        cuda.record(event, stream=stream)
        cuda.wait(event)
    assert cuda.elapsed_ms(*events) == 1.5
    for event in events:
        cuda.destroy_event(event)
    cuda.destroy_stream(stream)
    assert driver.left == (0, 0, 0, 0, 1)


def test_a_failing_call_is_named_with_cudas_own_word(cuda, driver):
    driver.fail["cuMemAlloc_v2"] = 2
    with pytest.raises(
        CudaError, match=r"cuMemAlloc_v2 failed with CUDA_ERROR_OUT_OF_MEMORY \(2\)"
    ):
        cuda.allocate(10)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"devices": 0}, "the driver sees 0"),
        ({"init": 100}, r"CUDA_ERROR_NO_DEVICE \(100\).*nvidia-smi"),
    ],
)
def test_a_machine_without_a_gpu_is_told(given, told):
    with pytest.raises(EngineUnavailableError, match=told):
        Cuda(FakeDriver(**given))


def test_a_machine_without_a_driver_is_told(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(EngineUnavailableError, match=r"libcuda\.so\.1.*install the driver"):
        Cuda.open()
