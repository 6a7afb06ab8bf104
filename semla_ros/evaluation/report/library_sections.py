"""The sections about the library: what it does not know, who makes the masks, map and words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float64Array
from semla_ros.evaluation.analysis.detection import alarms, family_patterns, rates
from semla_ros.evaluation.analysis.families import FamilyAlarm, family_alarms
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.evaluation.analysis.summary import weights_by_domain
from semla_ros.evaluation.bars import weight_bars
from semla_ros.evaluation.drawing import Fill, charted
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.evaluation.files import read_json
from semla_ros.evaluation.page import section, table_section
from semla_ros.evaluation.report.findings import Findings
from semla_ros.evaluation.report.plots import projection_plot
from semla_ros.evaluation.study.strategies import left_out, named_like
from semla_ros.evaluation.study.study import SEMLA, BoolArray, Study, StudyInfo
from semla_ros.evaluation.table import table_of
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.navigator.distance import CentroidBank
from semla_ros.pipeline.library_view import bank_of

MAX_MAPPED, MIN_MAPPED = 1500, 5
WORDS = "description.json"
MAX_WORDS_BYTES = 4_000_000
CAPTIONS = 3
_ALARM_NOTE = (
    "AUROC 0.5 is no use, less points the wrong way; found is the share of unknown frames above "
    "a threshold that 1 % of the known frames pass. Single frames, without the filter of the "
    "running node."
)


def unknown_section(study: Study, frames: FrameTable) -> str:
    """Return the alarm for domains without an adapter; empty where all or none have one.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    known: BoolArray = np.array(
        [_has_adapter(str(d), study.info) for d in frames.domain], np.bool_
    )
    if known.all() or not known.any():
        return ""
    unknown = sorted({str(d) for d in frames.domain[~known]})
    found = table_of(
        "Does it notice what the library does not know?",
        alarms(frames.where(known), frames.where(~known), family="no adapter"),
        {
            "signal": lambda a: a.signal.replace("_", " "),
            "known frames": lambda a: a.known,
            "unknown frames": lambda a: a.unknown,
            "AUROC": lambda a: a.auroc,
            "found at 1 % false, %": lambda a: 100 * a.tpr,
        },
        note=f"Unknown: {', '.join(unknown)}. {_in_force(study, frames, known)} {_ALARM_NOTE}",
    )
    return table_section(found, digits=2)


def _has_adapter(domain: str, info: StudyInfo) -> bool:
    own = named_like(domain, info.adapters)
    return own is not None and own not in left_out(info.leave_out, info.adapters, domain)


def _in_force(study: Study, frames: FrameTable, known: BoolArray) -> str:
    threshold = study.info.out_of_library
    if threshold <= 0:
        return "No threshold is in force."
    false, true = rates(frames.novelty, threshold=threshold, known=known)
    return (
        f"The threshold in force (novelty above {threshold:.4g}) finds {100 * true:.0f} % of "
        f"their frames and raises a false alarm on {100 * false:.0f} % of the others."
    )


def family_section(study: Study, bundle: ModelBundle) -> str:
    """Return the alarm with families of domains taken out of the library; empty without any.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    domains = {d for r in study.recordings for d in r.domains if d}
    patterns = family_patterns(sorted(domains & set(study.info.adapters)))
    if not patterns or any(r.embeddings.shape[1] == 0 for r in study.recordings):
        return ""
    parameters, distance = study.info.parameters, study.info.parameters["distance"]
    retrieval = ("temperature", "top_k", "similarity", "null_distance")
    found = family_alarms(
        study,
        bank_of(AdapterLibrary.of(bundle), distance=distance),
        settings=RetrievalSettings(*(parameters[name] for name in retrieval)),
        distance=distance,
        out_of_library=study.info.out_of_library,
        patterns=patterns,
    )
    shown = table_of(
        "Families taken out of the library",
        found,
        {
            "unknown": lambda f: f.family.strip("*"),
            "frames": lambda f: _alarm(f, "novelty").unknown,
            "AUROC novelty": lambda f: _alarm(f, "novelty").auroc,
            "found %": lambda f: 100 * _alarm(f, "novelty").tpr,
            "AUROC distance": lambda f: _alarm(f, "nearest_distance").auroc,
            "found % ": lambda f: 100 * _alarm(f, "nearest_distance").tpr,
            "found in force %": lambda f: 100 * f.found,
            "false alarms in force %": lambda f: 100 * f.false_alarms,
        },
        note="All adapters of a family leave the library; its frames must raise the alarm. "
        + _ALARM_NOTE,
    )
    return table_section(shown, digits=2)


def _alarm(found: FamilyAlarm, signal: str) -> Any:  # noqa: ANN401  an Alarm
    return next(a for a in found.alarms if a.signal == signal)


def mix_sections(
    study: Study, found: Findings, bank: CentroidBank | None, fills: Mapping[str, Fill]
) -> list[str]:
    """Return the weights of each domain and the map of library and frames."""
    sections = []
    for strategy in dict.fromkeys((SEMLA, found.strategy)):
        weights = weights_by_domain(study, strategy)
        if weights:
            title = f"Who makes the masks: mean weights of {strategy}"
            sections.append(section(title, weight_bars(weights, fills)))
    drawn = charted(lambda: _map(study, bank, fills))
    if drawn:
        about = (
            "Frames and centroids of the library, drawn so that neighbours stay neighbours "
            "(t-SNE, SemLA's Figure 7). Distances between far groups mean nothing."
        )
        sections.append(section("Library and frames", drawn, note=about))
    return sections


def _map(study: Study, bank: CentroidBank | None, fills: Mapping[str, Fill]) -> str:
    """Return frames, and the library where there is one, in the plane; empty for too few."""
    kept = [r for r in study.recordings if r.frames and r.embeddings.shape[1]]
    if not kept:
        return ""
    embeddings = np.concatenate([r.embeddings for r in kept])
    domains = np.concatenate([r.places for r in kept])
    count = len(embeddings)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_MAPPED)).round().astype(np.intp))
    centroids = np.zeros((0, embeddings.shape[1])) if bank is None else bank.centroids
    if len(chosen) + len(centroids) < MIN_MAPPED or centroids.shape[1] != embeddings.shape[1]:
        return ""
    plane = _tsne(np.concatenate([embeddings[chosen].astype(np.float64), centroids]))
    names = () if bank is None else bank.names
    frames = (plane[: len(chosen)], domains[chosen])
    return projection_plot(*frames, plane[len(chosen) :], names, fills)


def _tsne(points: Float64Array) -> Float64Array:
    """Return the t-SNE of (P, D) points, (P, 2); the same points give the same picture.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    manifold = evaluate_extra("sklearn.manifold").TSNE(
        n_components=2,
        perplexity=min(30.0, (len(points) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=0,
        n_jobs=1,
    )
    plane: Float64Array = np.asarray(manifold.fit_transform(points))
    return plane


def words_section(library: Path) -> str:
    """Return each adapter in words from the cache of `semla library describe`; empty without."""
    said = {path.parent.name: _words(path) for path in sorted(library.glob(f"*/{WORDS}"))}
    found = table_of(
        "The library in words",
        [(name, *each) for name, each in said.items() if any(each)],
        {
            "adapter": lambda row: row[0],
            "nearest words": lambda row: row[1],
            "captions of its images": lambda row: row[2],
        },
        note="Made by semla library describe: the nearest prompt of each group, and what a "
        "captioning model says of sample images (SemLA's Table 4).",
    )
    return table_section(found, sortable=False) if found.rows else ""


def _words(path: Path) -> tuple[str, str]:
    """Return nearest words and captions of a cache file; one that cannot be read says nothing."""
    try:
        content = read_json(path, what="words", max_bytes=MAX_WORDS_BYTES)
    except EvaluationError:
        content = {}
    data: dict[str, Any] = content if isinstance(content, dict) else {}
    words, captions = data.get("words", {}), data.get("captions", [])
    named = "; ".join(map(str, words.values())) if isinstance(words, dict) else ""
    said = [str(c.get("text", "")) for c in captions[:CAPTIONS] if isinstance(c, dict)]
    return named, "; ".join(said)
