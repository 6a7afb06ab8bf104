"""Where the adapters of one library start: A0 and B0 of recycled layers, kept once.

The minor directions of a rank-deficient layer are rounding noise, and differ from build to build.
Adapters that are to be mixed by their factors must start from the same ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from semla_ros.core.errors import TrainingError
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import Float32Array
from semla_ros.prepare.training.initial import KAIMING, Factors, Start, start_of
from semla_ros.prepare.training.recipe import Recipe


class Starts:
    """Starts by layer: those that a library keeps, others made and kept from then on."""

    def __init__(self, recipe: Recipe, *, folder: Path, base_model: str) -> None:
        """Open what `folder` keeps.

        Args:
            recipe: Init, ranks, alpha and seed.
            folder: Of the library.
            base_model: Identity of the base; starts of another one are refused.

        Raises:
            TrainingError: The file is damaged, or of another base.
        """
        self._recipe = recipe
        self._base_model = base_model
        name = f".start-{recipe.init}-{recipe.rank}-{recipe.sub_rank}-{recipe.alpha:g}.safetensors"
        self._path = folder / name
        self._kept: dict[str, Start] = {}
        self._known = 0
        if recipe.init != KAIMING and self._path.is_file():
            self._read()

    def __call__(self, layer: str, weight: Float32Array) -> Start:
        """Return the start of `layer` with W0 `weight` (out, in)."""
        recipe = self._recipe
        if layer not in self._kept:
            rng = np.random.default_rng([recipe.seed, *layer.encode()])
            self._kept[layer] = start_of(
                recipe.init, weight, recipe.ranks, alpha=recipe.alpha, rng=rng
            )
        return self._kept[layer]

    def keep(self) -> None:
        """Write what was made.

        Raises:
            TrainingError: The disk refuses.
        """
        if self._recipe.init == KAIMING or len(self._kept) == self._known:
            return
        tensors = {
            f"{side}.{i}.{layer}": array
            for layer, start in self._kept.items()
            for i, pair in enumerate(start.pairs)
            for side, array in (("a", pair.a), ("b", pair.b))
        }
        scaling = next(iter(self._kept.values())).scaling
        facts = {"base_model": self._base_model, "scaling": repr(scaling)}
        write_file(self._path, save(tensors, metadata=facts), error=TrainingError)
        self._known = len(self._kept)

    def _read(self) -> None:
        try:
            with safe_open(self._path, framework="np") as file:
                facts, keys = file.metadata() or {}, sorted(file.keys())
                if facts.get("base_model") != self._base_model:
                    raise TrainingError(
                        f"expected the start of base {self._base_model!r} in "
                        f"{str(self._path)!r}, got {facts.get('base_model')!r}: remove the file"
                    )
                pairs: dict[str, list[Factors]] = {}
                for key in (k for k in keys if k.startswith("a.")):
                    layer = key.split(".", 2)[2]
                    b = file.get_tensor(f"b{key[1:]}")
                    pairs.setdefault(layer, []).append(Factors(file.get_tensor(key), b))
            scaling = float(facts["scaling"])
        except (OSError, SafetensorError, ValueError, LookupError) as error:
            raise TrainingError(
                f"{str(self._path)!r} is damaged ({error}): remove the file"
            ) from error
        self._kept = {k: Start(tuple(v), scaling, recycled=True) for k, v in pairs.items()}
        self._known = len(self._kept)
