import numpy as np
import pytest

from semla_ros.engine.preprocess import InputBuffer


@pytest.mark.parametrize("shape", [(48, 64), (480, 640), (64, 64), (5, 3), (1, 1)])
def test_squash_is_what_torch_interpolate_computes(shape):
    torch = pytest.importorskip("torch", reason="torch is the reference here")
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    buffer = InputBuffer((64, 64))
    buffer.load(rgb)
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(image, size=(64, 64), mode="bilinear")
    np.testing.assert_allclose(buffer.tensor, expected.numpy(), atol=0.02)


def test_the_tensor_stays_where_it_is_when_the_resolution_changes():
    buffer = InputBuffer((32, 32))
    address = buffer.tensor.ctypes.data
    for shape, value in (((10, 20), 3), ((40, 30), 200), ((10, 20), 7)):
        buffer.load(np.full((*shape, 3), value, np.uint8))
        assert buffer.tensor.ctypes.data == address
        np.testing.assert_array_equal(buffer.tensor, np.float32(value))


def test_channels_stay_red_green_blue_and_views_are_read_right():
    rgb = np.zeros((8, 16, 3), np.uint8)
    rgb[..., 0], rgb[..., 2] = 250, 30
    buffer = InputBuffer((4, 4))
    buffer.load(rgb[::-1, ::2])
    assert [float(buffer.tensor[0, c].mean()) for c in range(3)] == [250, 0, 30]
