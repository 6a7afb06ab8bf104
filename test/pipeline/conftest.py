"""A world of three colours: its domains, adapters and camera, without a network."""

import threading
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semla_ros.bundle import (
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    ModelBundle,
    NavigatorSpec,
    SegmentationSpec,
    TextSpec,
)
from semla_ros.core.config import Config
from semla_ros.core.errors import VocabularyError
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import Frame, LoraAdapter, LoraLayer, Vocabulary
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.memory import DEFAULT_BYTES
from semla_ros.library.statistics import DomainStatistics
from semla_ros.navigator.navigator import Navigator
from semla_ros.pipeline.adaptive import AdaptivePipeline
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.observer import Observer
from semla_ros.pipeline.parts import PipelineParts
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.pipeline.swap import AdapterSwapper
from semla_ros.prepare.adapters.write import write_adapter, write_statistics

DOMAINS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}
LAYER = GraphWeight("image.fc", "image.fc.weight", "segmentation", "fc", False, (4, 4))
BASE_MODEL, ENCODER = "colours:1", "mean-colour"
FRAME_NS = 100_000_000


def write_domain(root: Path, name: str, color: tuple[int, int, int]) -> None:
    """Write the adapter of a domain whose images have this mean colour."""
    factor = np.full((1, 4), 1 + len(name), np.float32)
    layer = LoraLayer(factor, np.ones((4, 1), np.float32), 2.0)
    (root / name).mkdir(parents=True)
    write_adapter(root / name, LoraAdapter(name, {LAYER.name: layer}, BASE_MODEL), alpha=2.0)
    centroid = np.asarray(color, np.float64)
    write_statistics(root / name, name, DomainStatistics(centroid, count=10, encoder=ENCODER))


class MeanColour:
    """An image encoder whose embedding is the mean colour; can be told to fail or to hang."""

    identity, dim = ENCODER, 3

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hang: threading.Event | None = None
        self.seen = 0

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        self.seen += 1
        if self.hang is not None:
            self.hang.wait(60)
        if self.error is not None:
            raise self.error
        return rgb.reshape(-1, 3).mean(axis=0).astype(np.float32)


class OnesText:
    """Text features that depend on nothing but the number of classes."""

    def encode(self, vocabulary, weights, *, key=None):
        if "endless" in vocabulary.names:
            raise VocabularyError("expected a shorter prompt")
        return np.ones((len(vocabulary.names), 3), np.float32)


class Ones:
    def get(self, layer: str) -> np.ndarray:
        return np.ones((4, 4), np.float32)


class World:
    """A pipeline with its surroundings in reach of the test."""

    def __init__(self, root: Path, *, navigator: bool = True) -> None:
        self.root = root
        self.encoder = MeanColour()
        self.engine = FakeEngine({LAYER.name: LAYER})
        self.memory_bytes = DEFAULT_BYTES
        spec = NavigatorSpec(ENCODER, 8, "center_crop", (0.5,) * 3, (0.5,) * 3, 3)
        manifest = Manifest(
            name="colours",
            family="catseg",
            base_model=BASE_MODEL,
            segmentation=SegmentationSpec(self.engine.facts.size),
            text=TextSpec("{}", 8),
            navigator=spec if navigator else None,
            vocabulary=Vocabulary(("road", "sky"), np.zeros((2, 3), np.uint8)),
            defaults=AdaptationDefaults(0.001, 1, "euclidean", "inverse", -1.0, 0.001, 150.0),
            layers=(LAYER,),
            files={},
        )
        self.bundle = ModelBundle(root, manifest)

    def library(self) -> AdapterLibrary:
        spec = self.bundle.manifest.navigator
        return AdapterLibrary.open(
            self.root / "library",
            layers=(LAYER,),
            base_model=BASE_MODEL,
            encoder=spec.identity if spec else None,
            dim=spec.dim if spec else None,
            memory_bytes=self.memory_bytes,
        )

    def pipeline(
        self, *executors: Executor, config: Config | None = None, **changes
    ) -> AdaptivePipeline:
        config = config or quick(**changes)
        self.engine = FakeEngine({LAYER.name: LAYER})
        executors = executors or (InlineExecutor(),)
        library = self.library()
        observer = None
        if self.bundle.manifest.navigator is not None:
            settings = LiveSettings.of(config, self.bundle.manifest.defaults)
            bank = bank_of(library, distance=settings.distance)
            navigator = Navigator(
                self.encoder,
                bank,
                distance=settings.distance,
                time_constant_s=config.ema_time_s,
                max_gap_s=config.max_gap_s,
            )
            observer = Observer(navigator, executors[-1])
        vocabulary = self.bundle.manifest.vocabulary
        swapper = AdapterSwapper(
            self.engine, library, Ones(), OnesText(), vocabulary, executors[0]
        )
        parts = PipelineParts(
            bundle=self.bundle,
            engine=self.engine,
            swapper=swapper,
            library=library,
            observer=observer,
            executors=executors,
        )
        return AdaptivePipeline(parts, config)


def quick(**changes) -> Config:
    """Return a configuration that swaps at the first observation, without filter or dwell."""
    settings = {
        "engine": "fake",
        "adaptation": "inline",
        "navigator_rate_hz": 0.0,
        "ema_time_s": 0.0,
        "trigger_consecutive": 1,
        "min_dwell_s": 0.0,
    }
    return replace(Config(), **{**settings, **changes})


def frames(*colors: str, start: int = 0, period_ns: int = FRAME_NS, size=(24, 32)) -> list[Frame]:
    """Return one frame per colour name, a little textured."""
    made = []
    for index, color in enumerate(colors, start=start):
        noise = np.random.default_rng(index).integers(0, 20, (*size, 3), dtype=np.uint8)
        rgb = noise + np.asarray(DOMAINS.get(color, (120, 120, 120)), np.uint8)
        made.append(Frame(index * period_ns, "camera", rgb))
    return made


@pytest.fixture
def world(tmp_path: Path) -> World:
    for name, color in DOMAINS.items():
        write_domain(tmp_path / "library", name, color)
    return World(tmp_path)


@pytest.fixture
def make_frames():
    return frames


@pytest.fixture
def make_config():
    return quick


@pytest.fixture
def add_domain(world):
    return lambda name, color: write_domain(world.root / "library", name, color)
