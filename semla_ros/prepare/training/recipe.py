"""Training recipes: SemLA's settings, and files that say what differs from them.

A recipe is a YAML file of the fields below, `config/recipes/<name>.yaml` or the user's own; what
it leaves out is SemLA's. A bundle may name
those that suit it in `recipes.yaml`, as `adapter: small` and `base: small-base`.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import TrainingError
from semla_ros.core.files.structured_text import from_yaml
from semla_ros.core.shipped import shipped_files
from semla_ros.prepare.training.initial import INITIALISERS, KAIMING, RRQR, Ranks

MAX_FILE_BYTES = 100_000
COSINE, POLY = "cosine", "poly"
IGNORED, DEAD_QKV, DOUBLED_TAP = "ignored-is-no-class", "dead-qkv", "doubled-tap"
OFFICIAL = (IGNORED, DEAD_QKV, DOUBLED_TAP)
"""Habits of the original training. Source: design/algorithms A4, Q14, Q1 and Q2."""
BUNDLE_RECIPES = "recipes.yaml"
ADAPTER, BASE = "adapter", "base"
"""What a bundle's `recipes.yaml` may name a recipe for."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training run beside data and base.

    Attributes:
        init: Where the factors start, see `initial`.
        rank: Of the (main) pair.
        sub_rank: Of the sub pair; `rrqr` only.
        alpha: scaling = alpha / rank, of `rrqr` alpha / (rank + sub_rank).
        layers: Patterns of layer names to adapt; `*`: all that the bundle can merge into.
        steps: Optimiser steps.
        batch: Images per step, over all GPUs.
        accumulate: In how many parts a step's batch goes through the network.
        learning_rate: Peak, of the main pair.
        sub_rate: Learning rate of the sub pair as a factor of it.
        weight_decay: AdamW's; of full training on matrices only.
        weight_decay_end: What it is annealed to by half a cosine; None: it stays.
        schedule: `cosine` or `poly` (power 0.9), to zero.
        warmup: Steps of linear warm-up.
        warmup_factor: Of the learning rate, at its beginning.
        clip_norm: Largest gradient norm.
        crop: Side of random crops of images whose shorter side is as long; 0: the whole image,
            squashed to the network's input as the node does it.
        flip: Mirror half of the images.
        colour: SSD's brightness, contrast, saturation and hue.
        balance: Pixels weigh (frequency of their class in the batch) ** -balance.
        held_out: Share of the frames to judge by.
        evaluate_every: Steps between two evaluations, each with a checkpoint.
        patience: Evaluations without a better mIoU after which training stops; 0: never.
        seed: Of everything random.
        official: Habits of the original to reproduce, of `OFFICIAL`.
    """

    init: str = KAIMING
    rank: int = 8
    sub_rank: int = 0
    alpha: float = 16.0
    layers: tuple[str, ...] = ("*",)
    steps: int = 2000
    batch: int = 2
    accumulate: int = 1
    learning_rate: float = 1e-4
    sub_rate: float = 0.5
    weight_decay: float = 1e-5
    weight_decay_end: float | None = None
    schedule: str = COSINE
    warmup: int = 1000
    warmup_factor: float = 0.001
    clip_norm: float = 0.01
    crop: int = 384
    flip: bool = True
    colour: bool = True
    balance: float = 0.0
    held_out: float = 0.2
    evaluate_every: int = 200
    patience: int = 5
    seed: int = 250
    official: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._require_counts()
        self._require_choices()
        if self.warmup >= self.steps and self.warmup:
            raise TrainingError(
                f"expected warmup below the {self.steps} steps, got {self.warmup}: lower it"
            )
        if self.batch % self.accumulate:
            raise TrainingError(
                f"expected a batch that {self.accumulate} parts divide, got {self.batch}"
            )
        if self.sub_rank and self.init != RRQR:
            raise TrainingError(
                f"sub_rank {self.sub_rank} is for init {RRQR!r}, got {self.init!r}: set it to 0"
            )
        _ = self.ranks

    @property
    def ranks(self) -> Ranks:
        """Of both pairs."""
        return Ranks(self.rank, self.sub_rank)

    def _require_counts(self) -> None:
        least = {"steps": 1, "batch": 1, "accumulate": 1, "evaluate_every": 1, "warmup": 0}
        least |= {"crop": 0, "patience": 0, "seed": 0, "weight_decay": 0, "balance": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise TrainingError(
                    f"recipe: expected {name} >= {bound}, got {getattr(self, name)!r}"
                )
        for name in ("alpha", "learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise TrainingError(f"recipe: expected {name} > 0, got {getattr(self, name)!r}")
        if not 0 < self.held_out < 1:
            raise TrainingError(f"recipe: expected held_out in (0, 1), got {self.held_out!r}")

    def _require_choices(self) -> None:
        _require(self.init, INITIALISERS, "init")
        _require(self.schedule, (COSINE, POLY), "schedule")
        for habit in self.official:
            _require(habit, OFFICIAL, "official")


def read_recipe(what: str | None, bundle: ModelBundle | None, *, kind: str) -> tuple[str, Recipe]:
    """Return name and recipe that `what` means.

    Args:
        what: A name of `config/recipes`, a YAML file, or None: the bundle's own where it has
            one, else SemLA's (for a base: `base`).
        bundle: What is to be trained; None: only `what` counts.
        kind: `adapter` or `base`.

    Raises:
        TrainingError: No such recipe, or an unusable one.
    """
    own = bundle.root / BUNDLE_RECIPES if bundle else None
    suited = _read(own) if what is None and own is not None and own.is_file() else {}
    named = shipped_files("config/recipes")
    name = what or str(suited.get(kind, "semla" if kind == ADAPTER else BASE))
    path = named.get(name, Path(name))
    if not path.is_file():
        raise TrainingError(f"expected a recipe of {sorted(named)!r} or a YAML file, got {name!r}")
    return path.stem, recipe_from_dict(_read(path), where=path.name)


def changed(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """Return `recipe` with some fields set, text taken for what the field holds.

    Raises:
        TrainingError: Unknown field or unfit value.
    """
    return recipe_from_dict({**recipe_to_dict(recipe), **settings}, where="--set")


def recipe_from_dict(data: object, *, where: str) -> Recipe:
    """Return the recipe in `data`; `where` names it in messages.

    Raises:
        TrainingError: Unknown field or unfit value.
    """
    if not isinstance(data, Mapping):
        raise TrainingError(f"{where}: expected fields of a recipe, got {type(data).__name__}")
    hints = get_type_hints(Recipe)
    names = [f.name for f in fields(Recipe)]
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints or key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {names!r}"
            raise TrainingError(f"{where}: unknown field {key!r}: {hint}")
        values[str(key)] = _fitted(value, hints[key], f"{where}: {key}")
    return replace(Recipe(), **values)


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the fields as YAML and JSON hold them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}


def _fitted(value: object, hint: Any, where: str) -> Any:  # noqa: ANN401  a field's value
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    try:
        if kind in (int, float) and not isinstance(value, bool):
            number = float(value)  # type: ignore[arg-type]  # YAML reads 1e-4 as text
            return kind(number) if number == kind(number) else int(str(value))
        if kind is bool and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if kind is str and isinstance(value, str):
            return value
        if isinstance(value, (str, list, tuple)) and kind not in (int, float, bool, str):
            return tuple(map(str, value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError, OverflowError):
        pass
    name = getattr(kind, "__name__", str(kind))
    raise TrainingError(f"{where}: expected {name}, got {value!r}")


def _require(value: str, known: Any, name: str) -> None:  # noqa: ANN401  any container
    if value not in known:
        raise TrainingError(f"recipe: expected {name} of {list(known)!r}, got {value!r}")


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TrainingError(f"{path.name!r} is over {MAX_FILE_BYTES} bytes: no recipe")
    try:
        data = from_yaml(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path.name!r} is no recipe: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(data, dict):
        raise TrainingError(f"{path.name!r}: expected fields, got {type(data).__name__}")
    return data
