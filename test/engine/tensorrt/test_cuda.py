"""The driver API wrapper: what it passes on, what it gives back."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_cuda import Driver

from semla_ros.engine.tensorrt.cuda import Cuda, CudaError
from semla_ros.engine.tensorrt.tensors import Mirror


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture
def cuda(driver):
    made = Cuda(driver)
    yield made
    made.close()
    made.close()
    assert driver.left == (0, 0, 0, 0)


def test_the_device_is_described(cuda):
    assert cuda.platform == {"gpu": "Fake GPU", "compute_capability": "8.7", "cuda": "12"}


class Engine:
    """One that has a tensor of six pairs in half precision."""

    def get_tensor_shape(self, name):
        return (2, 6)

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name="HALF")


def test_a_tensor_travels_to_the_device_and_back(cuda):
    stream = cuda.stream(urgent=True)
    mirror = Mirror(cuda, Engine(), "pairs")
    assert (mirror.host.shape, mirror.host.dtype) == ((2, 6), np.float16)
    assert not mirror.host.any()
    mirror.host[:] = 7
    mirror.upload(stream)
    mirror.host[:] = 0
    mirror.download(stream)
    cuda.synchronize(stream)
    assert (mirror.host == 7).all()


def test_streams_have_the_priorities_of_the_device(cuda, driver):
    urgent, patient = cuda.stream(urgent=True), cuda.stream(urgent=False)
    assert (driver.streams[urgent], driver.streams[patient]) == (-5, 0)


def test_the_context_is_made_current_once_on_every_thread(cuda, driver):
    threads = [threading.Thread(target=lambda: (cuda.free_bytes, cuda.free_bytes))] * 1
    threads += [threading.Thread(target=lambda: cuda.free_bytes)]
    for thread in threads:
        thread.start()
        thread.join()
    assert driver.calls.count("cuCtxSetCurrent") == 2


def test_a_failing_call_is_named_with_cudas_own_word(cuda, driver):
    driver.fail["cuMemAlloc_v2"] = 2
    with pytest.raises(CudaError, match=r"cuMemAlloc_v2 failed with CUDA_ERROR_OUT_OF_MEMORY"):
        cuda.allocate(10)


def test_nothing_is_called_after_the_end(driver):
    cuda = Cuda(driver)
    stream = cuda.stream(urgent=True)
    cuda.close()
    driver.calls.clear()
    with pytest.raises(CudaError, match="cuStreamSynchronize after the GPU was closed"):
        cuda.synchronize(stream)
    assert not driver.calls
