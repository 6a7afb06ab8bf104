"""What navigators are held against: scenes of the demo world, and recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import UInt8Array
from semla_ros.data.inputs import InputOptions, open_input
from semla_ros.demo.model.recipe import Recipe
from semla_ros.demo.model.scenes import DomainScenes, render_domains, render_test_set

THIRDS = 3
"""First and last third of a recording make it known, the middle one tests."""


@dataclass(frozen=True, slots=True)
class World:
    """Scenes with labels, and recordings without.

    Attributes:
        train, validation: Scenes of every domain; no validation: nothing is segmented.
        tests: Disjoint sets of scenes of every domain.
        recordings: Name -> images in their order, each a domain of its own.
    """

    train: tuple[DomainScenes, ...]
    validation: tuple[DomainScenes, ...]
    tests: tuple[tuple[DomainScenes, ...], ...]
    recordings: Mapping[str, Sequence[UInt8Array]]

    @classmethod
    def made(cls, recipe: Recipe, recordings: Mapping[str, Path]) -> World:
        """Return the scenes that the demo model is made and tested with, and the recordings.

        Raises:
            SemlaError: A recording cannot be read.
        """

        def scenes(title: str, first: int, count: int) -> tuple[DomainScenes, ...]:
            return render_domains(first_seed=first, count=count, title=title)

        real = {name: _images(path) for name, path in recordings.items()}
        seeds = recipe.seeds
        return cls(
            scenes("train", seeds.train, recipe.domain_scenes),
            scenes("validation", seeds.validation, recipe.validation_scenes)
            if recipe.validation_scenes
            else (),
            tuple(
                render_test_set(number, count=recipe.test_scenes)
                for number in range(recipe.test_seeds)
            ),
            real,
        )


def _images(path: Path) -> list[UInt8Array]:
    found = open_input(path, InputOptions()).read(on_note=lambda _: None)
    images = [each.frame.rgb for each in found if each.frame is not None]
    if len(images) < THIRDS:
        raise EvaluationError(
            f"expected at least {THIRDS} images at {str(path)!r}, got {len(images)}"
        )
    return images
