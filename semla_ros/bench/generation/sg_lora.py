"""SG-LoRA on its own kind of task: adapters of CLIP for tasks nobody trained, by description."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from semla_ros.bench.generation.clip_novice import KNOWN
from semla_ros.bench.generation.clip_tasks import ClipTask, descriptions
from semla_ros.bench.generation.clip_tower import ImageTower, changes_of, start
from semla_ros.bench.generation.clip_train import recall
from semla_ros.bench.generation.cvae import CvaeOptions, Generator, train_cvae
from semla_ros.bench.generation.prior import Prior, aggregation_weights, semantic_prior
from semla_ros.bench.generation.scenes import THINGS
from semla_ros.bench.generation.vector import FactorLayout, unflatten
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.evaluation.study.strategies import CLIP_TEMPERATURE
from semla_ros.navigator.text_encoder import TextEncoder

TOP_K = 4
SAMPLES = 5
WORDING = "place and thing"
METHODS, CONDITION, WORDS, EXPERT, SEEN = (
    "unseen tasks",
    "condition",
    "wording",
    "experts of the same place",
    "seen tasks",
)
Scores = dict[str, dict[str, float]]
"""Row -> what `recall` finds, percent, the mean over tasks."""


@dataclass(frozen=True, slots=True)
class Library:
    """Everything that was trained with one seed.

    Attributes:
        tower: The network.
        tasks: All of them, by name.
        snapshots: Task -> (M, P) float32, its last epochs.
        layout: What the numbers are.
        words: Task -> wording -> description (D,).
        looks: Task -> mean embedding (D,) of its training images.
        unseen: Tasks that are to be generated.
    """

    tower: ImageTower
    tasks: Mapping[str, ClipTask]
    snapshots: Mapping[str, Float32Array]
    layout: FactorLayout
    words: Mapping[str, Mapping[str, Float64Array]]
    looks: Mapping[str, Float64Array]
    unseen: tuple[str, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """The experts."""
        return tuple(name for name in self.tasks if name not in self.unseen)

    def mean(self, task: str) -> Float64Array:
        """Return the mean of a task's snapshots."""
        mean: Float64Array = self.snapshots[task].mean(axis=0, dtype=np.float64)
        return mean

    def weights(
        self, target: Float64Array, experts: Sequence[str], *, by_look: bool = False
    ) -> Float64Array:
        """Return Eq. 6 over `experts`, compared by description or by images."""
        known = [self.looks[e] if by_look else self.words[e][WORDING] for e in experts]
        return aggregation_weights(
            target, np.stack(known), top_k=TOP_K, temperature=CLIP_TEMPERATURE
        )

    def prior(self, weights: Float64Array, experts: Sequence[str]) -> Prior:
        """Return Eq. 13 and 14."""
        means = np.stack([self.mean(e) for e in experts])
        variances = np.stack([self.snapshots[e].var(axis=0, dtype=np.float64) for e in experts])
        return semantic_prior(weights, means, variances)

    def score(self, task: str, vectors: Sequence[Float64Array | Float32Array]) -> dict[str, float]:
        """Return the mean recall of a task under each of `vectors` (P,)."""
        own = self.tasks[task]
        others = [t.test for t in elsewhere(self.tasks.values(), own) if t.thing == own.thing]
        found = []
        for vector in vectors:
            adapter = unflatten(vector.astype(np.float32), self.layout, name=task)
            found.append(recall(self.tower, own.test, others, changes_of(adapter)))
        return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def elsewhere(tasks: Iterable[ClipTask], task: ClipTask) -> list[ClipTask]:
    """Return the tasks at other places than `task` is."""
    return [each for each in tasks if each.domain != task.domain]


def unseen_tasks(tasks: Sequence[ClipTask], seed: int) -> tuple[str, ...]:
    """Return the tasks that experiment `seed` keeps back, one at each place the novice never saw.

    Experts know the place with other things, and the thing at other places; three experiments
    keep back each of these tasks once.
    """
    places = [domain for domain in dict.fromkeys(t.domain for t in tasks) if domain not in KNOWN]
    things = tuple(THINGS)
    kept = {domain: things[(i + seed) % len(things)] for i, domain in enumerate(places)}
    return tuple(t.name for t in tasks if kept.get(t.domain) == t.thing)


def described(
    tower: ImageTower, tasks: Sequence[ClipTask], text: TextEncoder
) -> tuple[dict[str, dict[str, Float64Array]], dict[str, Float64Array]]:
    """Return `words` and `looks` of a `Library`."""
    words, looks = {}, {}
    unadapted = changes_of(start(tower, seed=0))  # B = 0
    for task in tasks:
        texts = descriptions(task.domain, task.thing)
        words[task.name] = {
            key: text.encode(each).mean(axis=0, dtype=np.float64) for key, each in texts.items()
        }
        embedded = tower.embed(task.train.images, unadapted)
        looks[task.name] = embedded.mean(dim=0).double().numpy()
    return words, looks


def generator_of(library: Library, *, seed: int) -> Generator:
    """Return the CVAE fitted to the snapshots of all seen tasks.

    The condition of a seen task comes from the other experts, as that of an unseen one must.
    """
    vectors, priors = [], []
    for task in library.seen:
        others = [e for e in library.seen if e != task]
        prior = library.prior(library.weights(library.words[task][WORDING], others), others)
        vectors.append(library.snapshots[task])
        priors += [prior] * len(library.snapshots[task])
    return train_cvae(np.concatenate(vectors), priors, CvaeOptions(seed=seed))


@dataclass(slots=True)
class Comparison:
    """All tables of one seed."""

    library: Library
    generator: Generator
    seed: int
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def tables(self) -> dict[str, Scores]:
        """Return table -> row -> scores."""
        unseen, some_seen = self.library.unseen, self.library.seen[::4]
        return {
            METHODS: self._scored(unseen, self._methods),
            CONDITION: self._scored(unseen, self._conditions),
            WORDS: self._scored(unseen, self._wordings),
            EXPERT: self._scored(unseen, self._with_neighbours),
            SEEN: self._scored(some_seen, self._own),
        }

    def _scored(
        self, tasks: Sequence[str], rows: Callable[[str], Mapping[str, Sequence[Float64Array]]]
    ) -> Scores:
        found: dict[str, list[dict[str, float]]] = {}
        for task in tasks:
            for row, vectors in rows(task).items():
                found.setdefault(row, []).append(self.library.score(task, vectors))
        return {
            row: {key: float(np.mean([each[key] for each in scores])) for key in scores[0]}
            for row, scores in found.items()
        }

    def _methods(self, task: str) -> dict[str, Sequence[Float64Array]]:
        library, seen = self.library, self.library.seen
        means = np.stack([library.mean(e) for e in seen])
        weights = library.weights(library.words[task][WORDING], seen)
        prior = library.prior(weights, seen)
        chosen = weights > 0
        shuffled = self.rng.permutation(weights)
        noise = self.rng.normal(size=prior.mean.shape)
        gaussian = [
            prior.mean + np.sqrt(prior.variance) * self.rng.normal(size=prior.mean.shape)
            for _ in range(SAMPLES)
        ]
        return {
            "zero-shot": [np.zeros(library.layout.size)],
            "oracle: trained on the task": [library.snapshots[task][-1].astype(np.float64)],
            "Model Soups: all experts alike": [means.mean(axis=0)],
            f"AdapterSoup: nearest {TOP_K} alike": [means[chosen].mean(axis=0)],
            f"nearest {TOP_K} weighted": [prior.mean],
            "SG-LoRA": self._generated(prior),
            "Gaussian of the prior": gaussian,
            "control: nearest one": [means[int(np.argmax(weights))]],
            "control: shuffled descriptions": [shuffled @ means],
            "control: random of equal norm": [_with_norms_of(noise, prior.mean, library.layout)],
        }

    def _conditions(self, task: str) -> dict[str, Sequence[Float64Array]]:
        library, seen = self.library, self.library.seen
        found: dict[str, Sequence[Float64Array]] = {}
        for name, target, by_look in (
            ("text", library.words[task][WORDING], False),
            ("images of the task", library.looks[task], True),
        ):
            prior = library.prior(library.weights(target, seen, by_look=by_look), seen)
            found[f"nearest {TOP_K} weighted, by {name}"] = [prior.mean]
            found[f"SG-LoRA, by {name}"] = self._generated(prior)
        return found

    def _wordings(self, task: str) -> dict[str, Sequence[Float64Array]]:
        library, seen = self.library, self.library.seen
        found: dict[str, Sequence[Float64Array]] = {}
        for wording, target in library.words[task].items():
            prior = library.prior(library.weights(target, seen), seen)
            found[f"nearest {TOP_K} weighted, {wording}"] = [prior.mean]
            found[f"SG-LoRA, {wording}"] = self._generated(prior)
        return found

    def _with_neighbours(self, task: str) -> dict[str, Sequence[Float64Array]]:
        library, own = self.library, self.library.tasks[task]
        found: dict[str, Sequence[Float64Array]] = {}
        far = [e for e in library.seen if library.tasks[e].domain != own.domain]
        for name, experts in (("without", far), ("with", library.seen)):
            weights = library.weights(library.words[task][WORDING], experts)
            prior = library.prior(weights, experts)
            found[f"nearest {TOP_K} weighted, {name}"] = [prior.mean]
            found[f"SG-LoRA, {name}"] = self._generated(prior)
        return found

    def _own(self, task: str) -> dict[str, Sequence[Float64Array]]:
        library = self.library
        others = [e for e in library.seen if e != task]
        prior = library.prior(library.weights(library.words[task][WORDING], others), others)
        return {
            "zero-shot": [np.zeros(library.layout.size)],
            "its own adapter": [library.snapshots[task][-1].astype(np.float64)],
            "SG-LoRA, its snapshots among those learnt": self._generated(prior),
        }

    def _generated(self, prior: Prior) -> list[Float64Array]:
        seed = int(self.rng.integers(2**31))
        return [v.astype(np.float64) for v in self.generator.sample(prior, SAMPLES, seed=seed)]


def _with_norms_of(noise: Float64Array, like: Float64Array, layout: FactorLayout) -> Float64Array:
    """Return `noise` with the norm of each factor of `like`."""
    found: Float64Array = noise.copy()
    place = 0
    for out, into, rank in layout.shapes.values():
        for count in (rank * into, rank * out):
            part = slice(place, place + count)
            found[part] *= np.linalg.norm(like[part]) / np.linalg.norm(noise[part])
            place += count
    return found
