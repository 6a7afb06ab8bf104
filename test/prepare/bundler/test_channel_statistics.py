"""Channel statistics as an embedding: which maps, which numbers, which distances."""

import importlib.util
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("onnx") is None:
    pytest.skip("needs onnx: scripts/setup --dev", allow_module_level=True)

import onnx  # noqa: E402
from torch import nn  # noqa: E402

from semla_ros.bundle import NavigatorSpec  # noqa: E402
from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.prepare.bundler.channel_statistics import RADIUS, with_features  # noqa: E402
from semla_ros.prepare.bundler.early_layers import early_maps  # noqa: E402
from semla_ros.prepare.bundler.navigator_parts import NavigatorParts  # noqa: E402
from semla_ros.prepare.bundler.onnx_export import export_image_encoder  # noqa: E402
from semla_ros.prepare.bundler.reference_images import COUNT, reference_images  # noqa: E402
from semla_ros.prepare.bundler.subgraph import answers  # noqa: E402

SIZE, CLASSES = 32, 5
SPEC = NavigatorSpec("tiny", SIZE, "center_crop", (0.5,) * 3, (0.25,) * 3, CLASSES)


class Block(nn.Module):
    """A residual block of a convolutional network."""

    def __init__(self, channels):
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.two(torch.relu(self.one(x)))


class Convolutions(nn.Module):
    """A stem, one residual block, then narrower maps: twelve layers, four of them early."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.first = Block(4)
        self.down = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.rest = nn.Sequential(Block(8), Block(8), Block(8), nn.Conv2d(8, 8, 1))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, image):
        x = self.rest(torch.relu(self.down(self.first(torch.relu(self.stem(image))))))
        return self.head(x.mean((2, 3)))


class Patches(nn.Module):
    """A transformer of six blocks on 8 x 8 patches and a class token: 25 layers, nine early."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True)
            for _ in range(6)
        )

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token, x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[:, 0, :CLASSES]


def network(kind):
    torch.manual_seed(0)
    return kind().eval()


@pytest.fixture(scope="module", params=[Convolutions, Patches])
def encoder(request):
    return network(request.param)


@pytest.fixture(scope="module")
def made(encoder):
    """The network with each choice of features."""
    parts = NavigatorParts(encoder, SPEC)
    return {name: with_features(parts, name) for name in ("embedding", "statistics", "both")}


def exported(encoder, folder):
    export_image_encoder(encoder, folder / "navigator.onnx", size=SIZE)
    return onnx.load(str(folder / "navigator.onnx"))


def watched(encoder, modules, image):
    """Return the outputs of `modules` for `image`."""
    seen = []
    hooks = [m.register_forward_hook(lambda _, __, out: seen.append(out)) for m in modules]
    with torch.no_grad():
        encoder(torch.from_numpy(image))
    for hook in hooks:
        hook.remove()
    return [each.numpy() for each in seen]


def moments(encoder, image):
    """Return mean and standard deviation of the channels of the early maps, written out."""
    if isinstance(encoder, Convolutions):
        maps = watched(encoder, [encoder.first, encoder.down], image)
        # The last map of the second size comes after the activation.
        maps[1] = np.maximum(maps[1], 0.0)
        columns = [each[0].reshape(each.shape[1], -1) for each in maps]
    else:
        (tokens,) = watched(encoder, [encoder.blocks[1]], image)
        columns = [tokens[0, 1:].T]
    return np.concatenate([f(axis=1) for each in columns for f in (each.mean, each.std)])


def test_the_early_maps_of_convolutions_are_the_last_of_each_size(tmp_path):
    maps = early_maps(exported(network(Convolutions), tmp_path), next(reference_images(SPEC)))
    assert [(m.size, m.channels, m.axes, m.skipped) for m in maps] == [
        ((16, 16), 4, (2, 3), 0),
        ((8, 8), 8, (2, 3), 0),
    ]


def test_the_class_token_of_a_transformer_is_no_patch(tmp_path):
    (found,) = early_maps(exported(network(Patches), tmp_path), next(reference_images(SPEC)))
    assert (found.size, found.channels, found.axes, found.skipped) == ((8, 8), 16, (1,), 1)


def test_the_embedding_is_mean_and_deviation_of_each_channel(encoder, made):
    """Every column is one statistic, moved and stretched the same way for every image."""
    chosen = made["statistics"]
    images = list(itertools.islice(reference_images(SPEC), 12))
    rows = np.concatenate([each for (each,) in answers(chosen.encoder, images, ["embedding"])])
    expected = np.stack([moments(encoder, image) for image in images])
    assert rows.shape == expected.shape == (12, chosen.spec.dim)
    for got, statistic in zip(rows.T, expected.T, strict=True):
        slope, offset = np.polyfit(statistic, got, 1)
        assert slope > 0
        np.testing.assert_allclose(got, slope * statistic + offset, atol=2e-3)


def test_every_channel_weighs_alike_and_all_are_as_far_apart_as_clip_has_them(made):
    chosen = made["statistics"]
    found = answers(chosen.encoder, reference_images(SPEC), ["embedding"])
    rows = np.concatenate([each for (each,) in found])
    assert len(rows) == COUNT
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(rows.std(axis=0), RADIUS / chosen.spec.dim**0.5, rtol=1e-3)


def test_beside_the_embedding_both_weigh_alike(encoder, made):
    images = list(reference_images(SPEC))
    rows = np.concatenate(
        [each for (each,) in answers(made["both"].encoder, images, ["embedding"])]
    )
    own, statistics = rows[:, :CLASSES], rows[:, CLASSES:]
    for part in (own, statistics):
        np.testing.assert_allclose(part.var(axis=0).sum(), RADIUS**2 / 2, rtol=1e-3)
    with torch.no_grad():
        plain = np.concatenate([encoder(torch.from_numpy(each)).numpy() for each in images])
    away, expected = own - own[0], plain - plain[0]
    stretch = np.linalg.norm(away) / np.linalg.norm(expected)
    np.testing.assert_allclose(away, stretch * expected, atol=2e-3)


def test_the_identity_names_the_features(encoder, made):
    assert made["embedding"] == NavigatorParts(encoder, SPEC)
    names = [each.spec.identity for each in made.values()]
    assert names == ["tiny", "tiny+statistics", "tiny+both"]
    assert made["both"].spec.dim == made["statistics"].spec.dim + CLASSES
    assert made["statistics"].prompts is None


def test_statistics_alone_need_the_first_layers_alone(made):
    whole, early = (len(made[n].encoder.graph.initializer) for n in ("both", "statistics"))
    assert early < whole


def test_a_network_without_feature_maps_is_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, CLASSES)).eval()
    with pytest.raises(TrainingError, match="expected feature maps of a convolution"):
        with_features(NavigatorParts(flat, SPEC), "statistics")


def test_reference_images_differ_as_weather_does():
    rows = np.concatenate(list(reference_images(SPEC)))
    again = np.concatenate(list(reference_images(SPEC)))
    np.testing.assert_array_equal(rows, again)
    assert rows.shape == (COUNT, 3, SIZE, SIZE)
    grey = 255 * (rows * 0.25 + 0.5)
    assert grey.min() >= -1e-3
    assert grey.max() <= 255 + 1e-3
    levels, contrasts = grey.mean(axis=(1, 2, 3)), grey.std(axis=(1, 2, 3))
    assert levels.min() < 50
    assert levels.max() > 200
    assert contrasts.min() < 12
    assert contrasts.max() > 40
