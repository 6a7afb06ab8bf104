"""A tiny network and images whose classes are colours; a tiny bundle and labelled folders."""

import shutil
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from semla_ros.bundle import open_bundle

if find_spec("torch"):  # without it test/conftest.py skips this room
    import torch
    from fakes import tiny_bundle, tiny_config

    from semla_ros.data.tasks import tasks_of
    from semla_ros.network.checkpoint import create_catseg
    from semla_ros.prepare.bundler.writer import live_layers
    from semla_ros.prepare.training.adapter import AdapterRequest
    from semla_ros.prepare.training.alignment import align_dense
    from semla_ros.prepare.training.descent import FitOptions
    from semla_ros.prepare.training.ground import DataRequest
    from semla_ros.prepare.training.hardware import CPU, Hardware
    from semla_ros.prepare.training.initial import start_of
    from semla_ros.prepare.training.low_rank import attached
    from semla_ros.prepare.training.networks import CatSegNetwork
    from semla_ros.prepare.training.objective import Objective
    from semla_ros.prepare.training.recipe import Recipe
    from semla_ros.prepare.training.run import How
    from semla_ros.prepare.training.samples import ArrayImages
    from semla_ros.prepare.training.steps import Problem

SIZE = 32
FRAMES = 14


@pytest.fixture
def model():
    config = tiny_config(text_layers=1, vocab_size=16, context_length=8)
    return create_catseg(config, seed=0).eval()


@pytest.fixture
def tokens():
    return torch.tensor([[14, 1, 15], [14, 2, 15]])


@pytest.fixture
def prompts(tokens):
    return lambda _: tokens


@pytest.fixture
def aligned(model, halves, prompts):
    """The model, led off the plateau."""
    align_dense(model, halves, prompts, FitOptions(40, 8, 2e-3))
    return model


@pytest.fixture
def halves():
    """Eight images, dark left and bright right, or the other way round; labels say which."""
    rgb = np.zeros((8, 40, 48, 3), np.uint8)
    labels = np.zeros((8, 40, 48), np.uint8)
    for i in range(8):
        side = slice(0, 24) if i % 2 else slice(24, 48)
        rgb[i, :, side] = 220
        labels[i, :, side] = 1
    return ArrayImages(rgb, labels)


@pytest.fixture
def recipe():
    """Few steps on whole images."""
    return Recipe(
        rank=4,
        steps=6,
        batch=4,
        warmup=1,
        learning_rate=5e-3,
        clip_norm=1.0,
        crop=0,
        evaluate_every=2,
        seed=0,
    )


@pytest.fixture
def on_layers(model):
    """Puts changes by `recipe` on all layers of the model that adapters can change."""

    def attach(recipe, *, attention=True):
        def start(name, weight):
            rng = np.random.default_rng([*name.encode()])
            return start_of(recipe.init, weight, recipe.ranks, alpha=recipe.alpha, rng=rng)

        return attached(model, [x.name for x in live_layers(model, attention=attention)], start)

    return attach


@pytest.fixture
def problem(halves, prompts, tokens):
    """Makes the problem of changes that are on a model."""

    def make(model, changes, recipe, train=None):
        return Problem(
            Objective(
                CatSegNetwork(model), changes=changes.changes.values(), habits=recipe.official
            ),
            changes.parameters(),
            changes.groups(recipe),
            halves if train is None else train,
            halves,
            prompts,
            tokens,
        )

    return make


@pytest.fixture(scope="session")
def made_bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture
def bundle(made_bundle, tmp_path):
    """A tiny bundle with classes road, car, sky, tree and three adapters, to do anything with."""
    shutil.copytree(made_bundle.root, tmp_path / "bundle")
    return open_bundle(tmp_path / "bundle", verify=False)


@pytest.fixture
def frames(tmp_path):
    """A folder of images and one of labels: road below, sky above, a car at changing places."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for i in range(FRAMES):
        label = np.full((24, 40), 2, np.uint8)
        label[12:] = 0
        label[10:16, 2 * i : 2 * i + 8] = 1
        colours = np.array([[90, 90, 90], [200, 30, 30], [120, 170, 240]], np.uint8)
        cv2.imwrite(str(images / f"{i:03d}.png"), colours[label][..., ::-1])
        cv2.imwrite(str(labels / f"{i:03d}.png"), label)
    return images, labels


@pytest.fixture
def request_of(bundle, frames, recipe):
    """Makes a request for an adapter called `dusk` of the folder of frames."""

    def make(name="dusk", how=None, **changes):
        images, labels = frames
        data = DataRequest(tasks_of([f"{name}={images}"], labels=[str(labels)]))
        how = how or How("test", recipe, Hardware(CPU), threads=1)
        return AdapterRequest(
            **{"bundle": bundle.root, "name": name, "data": data, "how": how} | changes
        )

    return make
