import pytest
import torch
from torch.nn import functional

from semla_ros.errors import FrameError
from semla_ros.network.windows import single_window_scores, sliding_window_scores


@pytest.fixture
def text(small_config):
    features = torch.randn(3, small_config.embed_dim, generator=torch.Generator().manual_seed(1))
    return functional.normalize(features, dim=-1)


@pytest.fixture
def image():
    return torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(2)) * 255


@torch.no_grad()
def test_one_window_is_the_resized_sigmoid_of_the_network(small_model, image, text):
    resized = functional.interpolate(image[None], size=(64, 64), mode="bilinear")
    expected = functional.interpolate(
        small_model(resized, text).sigmoid(), size=(50, 70), mode="bilinear"
    )[0]
    result = single_window_scores(small_model, image, text)
    torch.testing.assert_close(result.scores, expected)
    assert torch.equal(result.labels, expected.argmax(0))


def test_padding_changes_the_result_only_where_the_size_is_no_multiple(small_model, image, text):
    plain = single_window_scores(small_model, image, text).scores
    fitting = single_window_scores(small_model, image, text, pad_multiple=10).scores
    padded = single_window_scores(small_model, image, text, pad_multiple=64).scores
    assert torch.equal(plain, fitting)
    assert (plain - padded).abs().max() > 1e-4


@torch.no_grad()
def test_sliding_scores_average_the_crops_and_the_global_view(small_model, image, text):
    """Compare with unfold and fold, as the paper's inference is written."""
    config = small_model.config
    crop, stride, canvas = config.crop_size, config.stride, config.canvas_size
    squashed = functional.interpolate(image[None], size=(canvas, canvas), mode="bilinear")
    crops = functional.unfold(squashed, crop, stride=stride)[0].T.reshape(-1, 3, crop, crop)
    assert len(crops) == 4
    whole = functional.interpolate(image[None], size=(crop, crop), mode="bilinear")
    logits = small_model(torch.cat([crops, whole]), text)
    scores = functional.interpolate(logits, size=(crop, crop), mode="bilinear").sigmoid()
    size = (canvas, canvas)
    total = functional.fold(scores[:4].flatten(1).T[None], size, crop, stride=stride)
    count = functional.fold(torch.ones(1, crop * crop, 4), size, crop, stride=stride)
    mean = (total / count + functional.interpolate(scores[4:], size=size, mode="bilinear")) / 2
    expected = functional.interpolate(mean, size=(50, 70), mode="bilinear")[0]
    result = sliding_window_scores(small_model, image, text)
    torch.testing.assert_close(result.scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("function", [single_window_scores, sliding_window_scores])
def test_channels_behind_are_refused(small_model, text, function):
    with pytest.raises(FrameError, match=r"\(3, H, W\)"):
        function(small_model, torch.zeros(50, 70, 3), text)
