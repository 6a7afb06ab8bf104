"""The experiments on adapters: which rows stand in which table.

Rows of one table train as many parameters, unless ranks or layers are what it compares; all have
the scaling 2 of SemLA's adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from semla_ros.prepare.training.recipe import Recipe, changed

SEMLA_LAYERS = "*.mlp.*,*.predictor.transformer.*"
"""SemLA's list: the MLPs of both towers of CLIP, and the aggregator."""
SCALING = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """One way to train a library.

    Attributes:
        name: In the table.
        settings: Fields of the recipe that differ; `layers` are SemLA's unless they say otherwise.
        full: All weights are trained instead, a base for each domain.
    """

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)
    full: bool = False

    def recipe(self, common: Recipe, *, seed: int) -> Recipe:
        """Return the recipe of this row.

        Raises:
            TrainingError: The settings do not go together.
        """
        if self.full:
            return changed(common, {**self.settings, "seed": seed})
        settings: dict[str, object] = {"rank": 8, "layers": SEMLA_LAYERS, **self.settings}
        total = int(str(settings["rank"])) + int(str(settings.get("sub_rank", 0)))
        return changed(common, {**settings, "alpha": SCALING * total, "seed": seed})


def _recycled(main: int, sub: int, **more: object) -> dict[str, object]:
    return {"init": "rrqr", "rank": main, "sub_rank": sub, "weight_decay": 0, **more}


LORA = Row("LoRA, rank 8")
RECYCLED = Row("RecycleLoRA, main 6, sub 2", _recycled(6, 2))

TABLES: Mapping[str, tuple[Row, ...]] = MappingProxyType(
    {
        "init": (
            LORA,
            Row("PiSSA, rank 8", {"init": "pissa"}),
            Row("SoMA, rank 8", {"init": "soma"}),
            RECYCLED,
            Row("main alone, rank 8", _recycled(8, 0)),
            Row("sub alone, rank 8", _recycled(0, 8)),
        ),
        "rank": (
            *(Row(f"LoRA, rank {rank}", {"rank": rank}) for rank in (4, 8, 16)),
            Row("RecycleLoRA, main 3, sub 1", _recycled(3, 1)),
            RECYCLED,
            Row("RecycleLoRA, main 12, sub 4", _recycled(12, 4)),
        ),
        "sub-rate": tuple(
            Row(f"RecycleLoRA, sub rate {rate}", _recycled(6, 2, sub_rate=rate))
            for rate in (0.1, 0.5, 1.0)
        ),
        "full": (LORA, Row("full fine-tuning", full=True)),
        "attention": (
            LORA,
            Row("LoRA, and q, k, v, out_proj", {"layers": "*"}),
        ),
    }
)
"""Source: RecycleLoRA (CVPR 2026), supplement, tables 9, 11 and 12; SemLA (CVPR 2025), table 6."""
