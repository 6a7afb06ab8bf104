"""The settings of the demo model: seeds, sizes, steps. Change here, then run the make script."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from semla_ros.prepare.bundler.clip import ClipSize
from semla_ros.prepare.training.descent import FitOptions
from semla_ros.prepare.training.recipe import Recipe as Training

TEMPLATE = "A photo of a {} in the scene"
BASE_DOMAIN = "clear-day"
"""The only domain that the base network is trained on."""

IMAGE_SIZE = (192, 320)
"""Height and width of rendered images."""
CAPTIONS_PER_IMAGE = 4


CLIP_OPTIONS = FitOptions(400, 64, 1e-3, title="CLIP")
ALIGN_OPTIONS = FitOptions(250, 16, 1e-3, balance=0.5, title="align")
SMALL = Training(
    steps=1,
    warmup=0,
    warmup_factor=0.05,
    weight_decay=0.01,
    clip_norm=1.0,
    crop=0,
    balance=0.5,
    evaluate_every=100_000,
    seed=0,
)
"""What all training of a network as small as this shares; see config/recipes/small.yaml."""
SUITED = "adapter: small\nbase: small-base\n"
"""The bundle's `recipes.yaml`: which of config/recipes suit it."""
BASE_RECIPE = replace(SMALL, steps=1000, warmup=100, batch=8, learning_rate=1e-3)
ADAPTER_RECIPE = replace(SMALL, steps=170, warmup=17, batch=6, learning_rate=4e-3)


@dataclass(frozen=True, slots=True)
class SceneSeeds:
    """First scene seed of each split; splits lie far apart, so no scene is seen twice."""

    train: int = 0
    validation: int = 5_000_000
    test: int = 9_000_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the demo model.

    Attributes:
        seeds: Scene seeds of the splits.
        base_scenes: Rendered base-domain scenes for the base network.
        domain_scenes: Rendered scenes per domain for CLIP, adapters and centroids.
        clip_size: The small CLIP.
        clip, align, base, adapter: Optimisation.
        validation_scenes: Per domain, for choosing temperature and thresholds.
        test_scenes: Per domain and test seed.
        test_seeds: Number of disjoint test sets; their spread is reported.
    """

    seeds: SceneSeeds = field(default_factory=SceneSeeds)
    base_scenes: int = 800
    domain_scenes: int = 240
    clip_size: ClipSize = field(default_factory=ClipSize)
    clip: FitOptions = CLIP_OPTIONS
    align: FitOptions = ALIGN_OPTIONS
    base: Training = BASE_RECIPE
    adapter: Training = ADAPTER_RECIPE
    validation_scenes: int = 24
    test_scenes: int = 30
    test_seeds: int = 3

    def adapter_recipe(self, number: int) -> Training:
        """Return the settings of the adapter of one domain: same length, a seed of its own."""
        return replace(self.adapter, seed=100 + number)
