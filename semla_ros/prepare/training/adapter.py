"""`semla train adapter`: from labelled frames of one domain to an entry of the library."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.statistics import DomainStatistics
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.training.checkpoint import Progress
from semla_ros.prepare.training.compress import compressed
from semla_ros.prepare.training.entry import (
    card_text,
    require_free_name,
    statistics_of,
    with_dead_qkv,
    write_entry,
)
from semla_ros.prepare.training.ground import DataRequest, Ground, stand
from semla_ros.prepare.training.hardware import threads
from semla_ros.prepare.training.judge import Judgement, class_table, judge, verdict
from semla_ros.prepare.training.low_rank import adapter_of, attached
from semla_ros.prepare.training.recipe import DEAD_QKV, Recipe
from semla_ros.prepare.training.run import (
    How,
    Say,
    announce,
    card_facts,
    facts_of,
    options_of,
    problem_of,
    runner_of,
    workplace_beside,
)
from semla_ros.prepare.training.starts import Starts
from semla_ros.prepare.training.trainer import train


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """What is asked for.

    Attributes:
        bundle: Folder of the base.
        name: Of the adapter: the domain.
        data: Labelled recordings.
        how: Recipe and hardware.
        replace: Put it in the place of an adapter of that name.
        licence: Goes onto the card as given.
        compress: Rank to shrink the adapter to; 0: as it was trained.
    """

    bundle: Path
    name: str
    data: DataRequest
    how: How = field(default_factory=How)
    replace: bool = False
    licence: str = ""
    compress: int = 0


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """What came of it.

    Attributes:
        folder: The entry.
        adapter: As it was written.
        progress: Evaluations on the way.
        judgement: Of the held-out frames.
    """

    folder: Path
    adapter: LoraAdapter
    progress: Progress
    judgement: Judgement


def train_adapter(
    request: AdapterRequest, say: Say, *, dry_run: bool = False
) -> TrainedAdapter | None:
    """Return the adapter that is now in the library; None after a dry run, or by a helper.

    Args:
        request: What.
        say: Told everything on the way.
        dry_run: Stop after the plan.

    Raises:
        SemlaError: It cannot be trained; the library is as it was.
    """
    bundle, how = open_bundle(request.bundle, verify=False), request.how
    base = bundle.manifest.base_model
    require_free_name(bundle, request.name, replaces=request.replace)
    layers = chosen_layers(bundle, how.recipe)
    starts = Starts(how.recipe, folder=bundle.library, base_model=base)
    with threads(how.threads):
        ground = stand(
            bundle,
            request.data,
            how.recipe,
            hardware=how.hardware,
            workplace=workplace_beside(
                bundle.library / request.name, fresh=how.fresh, dry=dry_run
            ),
            threads=how.threads,
            embeds=True,
            title=request.name,
        )
        say = say if ground.main else unheard
        facts = facts_of(ground, how.recipe, layers=layers)
        resumed = ground.claim(facts)
        with attached(ground.network.model, layers, starts) as changes:
            problem = problem_of(
                ground,
                how.recipe,
                changes.parameters(),
                changes.groups(how.recipe),
                changes=[*changes.changes.values()],
            )
            announce(
                request.name,
                how,
                ground,
                problem,
                what=f"init {how.recipe.init}, {len(layers)} layers",
                resumed=resumed,
                say=say,
            )
            if dry_run:
                return None
            if ground.main:
                starts.keep()
            progress = train(problem, how.recipe, options_of(request.name, how, ground, say))
            adapter = adapter_of(changes, name=request.name, base_model=base)
        return _finished(request, ground, adapter, progress, say) if ground.main else None


def unheard(_line: str) -> None:
    """Leave telling to the main process."""


def chosen_layers(bundle: ModelBundle, recipe: Recipe) -> tuple[str, ...]:
    """Return the bundle's layers that the recipe's patterns name.

    Raises:
        TrainingError: None; or a pattern that names none.
    """
    names = [layer.name for layer in bundle.manifest.layers]
    for pattern in recipe.layers:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise TrainingError(
                f"recipe: expected layers that {bundle.manifest.name!r} can merge into, got the "
                f"pattern {pattern!r}, which names none of {len(names)}, e.g. {names[:1]!r}"
            )
    return tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in recipe.layers))


def _finished(
    request: AdapterRequest, ground: Ground, adapter: LoraAdapter, progress: Progress, say: Say
) -> TrainedAdapter:
    facts: dict[str, Any] = {}
    if request.compress:
        small = compressed(adapter, request.compress)
        adapter = small.adapter
        facts["compression"] = {"rank": request.compress, "error": small.error}
        say(
            f"compressed to rank {request.compress}: {100 * small.error:.2f} % of the change is "
            f"lost, at most {100 * small.worst:.2f} % ({small.worst_layer})"
        )
    with runner_of(ground.bundle, request.how, ground.hardware) as runner:
        judgement = judge(
            runner,
            request.data.every,
            request.data.reading,
            held_out=ground.held_out_places(),
            adapter=adapter,
        )
    words = verdict(judgement, request.name)
    network = ground.network.model
    if DEAD_QKV in request.how.recipe.official and isinstance(network, CatSeg):
        adapter = with_dead_qkv(adapter, network.config, seed=request.how.recipe.seed)
    card = card_text(
        request.name,
        licence=request.licence,
        summary=[f"- {line}" for line in words] + ["", *class_table(judgement)],
        facts=card_facts(request.data, request.how, ground, progress, judgement) | facts,
    )
    folder = write_entry(ground.bundle, adapter, statistics=_statistics(ground), card=card)
    ground.workplace.remove()
    for line in (*words, f"wrote {folder}"):
        say(line)
    return TrainedAdapter(folder, adapter, progress, judgement)


def _statistics(ground: Ground) -> DomainStatistics | None:
    """Return what the navigator makes of the frames that were not held out."""
    if not ground.encoder:
        return None
    rows, recordings = ground.embeddings()
    return statistics_of(rows, recordings, encoder=ground.encoder)
