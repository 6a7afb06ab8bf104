"""What every run stands on: the bundle's network, its data, their split, and a workplace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from accelerate import PartialState

from semla_ros.bundle import AS_TRAINED, ModelBundle
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float32Array
from semla_ros.data.tasks import ReadSettings, Task
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.prepare.training.frames import Gathered, gather
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.networks import TrainedNetwork, trained_network
from semla_ros.prepare.training.recipe import DOUBLED_TAP, Recipe
from semla_ros.prepare.training.samples import IGNORE, View
from semla_ros.prepare.training.split import Split, split_frames
from semla_ros.prepare.training.workplace import Workplace, data_key


@dataclass(frozen=True, slots=True)
class DataRequest:
    """Labelled recordings.

    Attributes:
        tasks: To learn from, and to hold some of out.
        held_out: To judge by; empty: some of `tasks` are.
        reading: How they are read.
        domain: Of frames that a table gives a domain, take those of this one.
    """

    tasks: tuple[Task, ...]
    held_out: tuple[Task, ...] = ()
    reading: ReadSettings = field(default_factory=ReadSettings)
    domain: str = ""

    @property
    def every(self) -> tuple[Task, ...]:
        """All recordings, as they are numbered."""
        return (*self.tasks, *self.held_out)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a run stands on.

    Attributes:
        bundle, network: The base.
        weights: How many the network has.
        hardware: Resolved.
        data, split: What was found, and what is held out.
        data_key: Changes with the data.
        workplace: Where it works.
        encoder: Identity of what embedded the frames; "" without a navigator.
        state: Of the processes that share the run; the main one writes and tells.
    """

    bundle: ModelBundle
    network: TrainedNetwork
    weights: int
    hardware: Hardware
    data: Gathered
    split: Split
    data_key: str
    workplace: Workplace
    encoder: str
    state: PartialState

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and tells."""
        return bool(self.state.is_main_process)

    def claim(self, facts: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint of a run with the same `facts` is there to go on from.

        Raises:
            TrainingError: There is one of a run that differs.
        """
        with self.state.main_process_first():
            return self.workplace.claim(facts)

    def held_out_places(self) -> frozenset[tuple[int, int]]:
        """Return (recording, index) of the held-out frames."""
        frames = self.data.frames
        return frozenset((frames[i].recording, frames[i].index) for i in self.split.held_out)

    def embeddings(self) -> tuple[Float32Array, list[int]]:
        """Return the embeddings of all frames apart from the held-out stretches, and recordings.

        Frames without labels count, too; those among held-out ones do not.
        """
        rows = self.data.embeddings()
        frames = self.data.frames
        kept: list[int] = []
        away: dict[int, list[int]] = {}
        for i in (*self.split.held_out, *self.split.unused):
            away.setdefault(frames[i].recording, []).append(frames[i].index)
        for row, (recording, index) in enumerate(self.data.places):
            ends = away.get(recording)
            if ends is None or not min(ends) <= index <= max(ends):
                kept.append(row)
        return rows[kept], [self.data.places[row][0] for row in kept]


def stand(
    bundle: ModelBundle,
    data: DataRequest,
    recipe: Recipe,
    *,
    hardware: Hardware,
    workplace: Workplace,
    threads: int,
    embeds: bool,
    title: str,
) -> Ground:
    """Return what a run stands on; reads the data unless that was done before.

    Raises:
        SemlaError: A bundle that cannot be trained, or data that cannot be trained on.
    """
    _require_apart(data)
    hardware = hardware.resolved()
    state = PartialState(cpu=hardware.device == CPU)
    network = trained_network(bundle, habits=habits_of(bundle, recipe))
    view = View.of(recipe, size=network.size)
    navigator = bundle.manifest.navigator if embeds else None
    identity = navigator.identity if navigator else ""
    classes = bundle.manifest.vocabulary.names
    key = data_key(data.every, data.reading, view.size, view.crop, identity, classes, data.domain)
    with state.main_process_first():
        if state.is_main_process:
            workplace.make_room(key)
        gathered = gather(
            data.every,
            data.reading,
            classes,
            view=view,
            folder=workplace.frames(key),
            domain=data.domain,
            encoder=OnnxImageEncoder(bundle, threads=threads) if navigator else None,
            title=title,
        )
    split = split_frames(
        [frame.recording for frame in gathered.frames],
        share=recipe.held_out,
        held_out=frozenset(range(len(data.tasks), len(data.every))),
    )
    _require_classes(gathered, split)
    return Ground(
        bundle,
        network.to(state.device),
        sum(p.numel() for p in network.parameters()),
        hardware,
        gathered,
        split,
        key,
        workplace,
        identity,
        state,
    )


def _require_apart(data: DataRequest) -> None:
    """Raise where a file would be learnt from and judged by."""
    learnt, judged = (
        {file.resolve() for task in side for file in task.open_input(data.reading).files}
        for side in (data.tasks if data.held_out else (), data.held_out)
    )
    if both := learnt & judged:
        raise TrainingError(
            f"expected other recordings with --held-out than with --data, got {str(min(both))!r} "
            "in both: leave it out of one"
        )


def _require_classes(data: Gathered, split: Split) -> None:
    """Raise unless labels show two classes to learn from, and one to judge by."""
    for side, least, what in (
        (split.train, 2, "two classes or more to train on"),
        (split.held_out, 1, "a class or more to judge by"),
    ):
        images, seen = data.some(side), set[int]()
        for place in range(len(images)):
            seen |= {*np.unique(images[place][1]).tolist()} - {IGNORE}
            if len(seen) >= least:
                break
        else:
            raise TrainingError(
                f"expected labels of {what}, got {len(seen)} in {len(side)} "
                f"frames ({split.rule}): check --label-map, or give other frames"
            )


def habits_of(bundle: ModelBundle, recipe: Recipe) -> tuple[str, ...]:
    """Return the original's habits to train with: those that the bundle serves with, too."""
    as_trained = bundle.manifest.adapter_guidance == AS_TRAINED
    more = (DOUBLED_TAP,) if as_trained and DOUBLED_TAP not in recipe.official else ()
    return (*recipe.official, *more)


def ranges(places: Iterable[int]) -> list[list[int]]:
    """Return increasing numbers as [first, last] of each stretch."""
    found: list[list[int]] = []
    for place in places:
        if found and place == found[-1][1] + 1:
            found[-1][1] = place
        else:
            found.append([place, place])
    return found


def split_facts(ground: Ground) -> dict[str, Any]:
    """Return the split as a card writes it down: per recording, places in it."""
    frames, names = ground.data.frames, ground.data.names

    def of(chosen: Sequence[int]) -> dict[str, list[list[int]]]:
        by_name: dict[str, list[int]] = {}
        for i in chosen:
            by_name.setdefault(names[frames[i].recording], []).append(frames[i].index)
        return {name: ranges(indices) for name, indices in by_name.items()}

    split = ground.split
    return {
        "rule": split.rule,
        "train": of(split.train),
        "held_out": of(split.held_out),
        "unused": of(split.unused),
    }
