"""`semla train base`: all weights of a base trained on labelled frames, as a bundle of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.prepare.bundler.writer import require_free
from semla_ros.prepare.training.adapter import unheard
from semla_ros.prepare.training.checkpoint import Progress
from semla_ros.prepare.training.ground import DataRequest, Ground, stand
from semla_ros.prepare.training.hardware import threads
from semla_ros.prepare.training.judge import ADAPTER, BEFORE, Judgement, judge
from semla_ros.prepare.training.recipe import BUNDLE_RECIPES
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
from semla_ros.prepare.training.schedule import full_groups
from semla_ros.prepare.training.trainer import train

CARD = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class BaseRequest:
    """What is asked for.

    Attributes:
        bundle: Folder of the base to start from.
        out: Folder of the new bundle.
        data: Labelled recordings.
        how: Recipe and hardware.
    """

    bundle: Path
    out: Path
    data: DataRequest
    how: How = field(default_factory=How)


@dataclass(frozen=True, slots=True)
class TrainedBase:
    """What came of it.

    Attributes:
        bundle: The new one; its library is empty, for adapters belong to their base.
        progress: Evaluations on the way.
        before, after: Scores of the held-out frames.
    """

    bundle: ModelBundle
    progress: Progress
    before: Judgement
    after: Judgement


def train_base(request: BaseRequest, say: Say, *, dry_run: bool = False) -> TrainedBase | None:
    """Return the new bundle; None after a dry run, or by a helper.

    Args:
        request: What.
        say: Told everything on the way.
        dry_run: Stop after the plan.

    Raises:
        SemlaError: It cannot be trained; nothing is at `out`.
    """
    require_free(request.out)
    old, how = open_bundle(request.bundle, verify=False), request.how
    name = request.out.name
    with threads(how.threads):
        ground = stand(
            old,
            request.data,
            how.recipe,
            hardware=how.hardware,
            workplace=workplace_beside(request.out.absolute(), fresh=how.fresh, dry=dry_run),
            threads=how.threads,
            embeds=False,
            title=name,
        )
        say = say if ground.main else unheard
        resumed = ground.claim(facts_of(ground, how.recipe))
        parameters = dict(ground.network.model.requires_grad_(True).named_parameters())
        groups = full_groups(parameters.values(), how.recipe.weight_decay)
        problem = problem_of(ground, how.recipe, parameters, groups)
        announce(
            name,
            how,
            ground,
            problem,
            what="all weights",
            resumed=resumed,
            say=say,
        )
        if dry_run:
            return None
        progress = train(problem, how.recipe, options_of(name, how, ground, say))
        return _finished(request, ground, progress, say) if ground.main else None


def _finished(request: BaseRequest, ground: Ground, progress: Progress, say: Say) -> TrainedBase:
    scores: list[Judgement] = []

    def check(bundle: ModelBundle) -> None:
        """Judge the new base before it appears, and write its card into it."""
        scores.append(_judged(bundle, request, ground))
        before, after = scores
        both = Judgement(
            before.classes,
            before.frames,
            {BEFORE: before.counts[BEFORE], ADAPTER: after.counts[BEFORE]},
        )
        facts = card_facts(request.data, request.how, ground, progress, both)
        (bundle.root / CARD).write_text(_card(bundle, facts), encoding="utf-8")
        recipes = ground.bundle.root / BUNDLE_RECIPES
        if recipes.is_file():
            shutil.copyfile(recipes, bundle.root / BUNDLE_RECIPES)

    scores.append(_judged(ground.bundle, request, ground))
    bundle = ground.network.write(request.out, name=request.out.name, check=check)
    ground.workplace.remove()
    before, after = scores
    gain = 100 * (after.miou(BEFORE) - before.miou(BEFORE))
    say(
        f"{request.out.name}: mIoU of {after.frames} held-out frames: "
        f"{100 * before.miou(BEFORE):.1f} % before, {100 * after.miou(BEFORE):.1f} % now "
        f"({gain:+.1f} points)"
    )
    say(f"wrote {request.out}; its library is empty: adapters belong to their base")
    return TrainedBase(bundle, progress, before, after)


def _judged(bundle: ModelBundle, request: BaseRequest, ground: Ground) -> Judgement:
    with runner_of(bundle, request.how, ground.hardware) as runner:
        return judge(
            runner,
            request.data.every,
            request.data.reading,
            held_out=ground.held_out_places(),
        )


def _card(bundle: ModelBundle, facts: dict[str, Any]) -> str:
    body = json.dumps(facts, indent=1, ensure_ascii=False)
    return (
        f"# {bundle.manifest.name}\n\nA base of family {bundle.manifest.family}, made by "
        "`semla train base`.\n\n"
        f"```json\n{body}\n```\n"
    )
