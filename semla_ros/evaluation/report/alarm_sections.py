"""The alarm for unknown scenes on the page: unknown domains, and families taken out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.evaluation.analysis.detection import Alarm, alarms, family_patterns, rates
from semla_ros.evaluation.analysis.families import FamilyAlarm, family_alarms
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.evaluation.page import section, table
from semla_ros.evaluation.study.strategies import left_out, named_like
from semla_ros.evaluation.study.study import BoolArray, Study
from semla_ros.evaluation.table import Cell
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.pipeline.library_view import bank_of

_NOTE = (
    "AUROC 0.5 is no use, less points the wrong way; found is the share of unknown frames above "
    "a threshold that 1 % of the known frames pass. Single frames, without the filter of the "
    "running node."
)


def unknown_section(study: Study, frames: FrameTable) -> str:
    """Return the alarm for domains without an adapter; empty where all or none have one.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    names = study.info.adapters
    known: BoolArray = np.array(
        [_has_adapter(str(d), names, study.info.leave_out) for d in frames.domain], np.bool_
    )
    if known.all() or not known.any():
        return ""
    found = alarms(frames.where(known), frames.where(~known), family="no adapter")
    unknown = sorted({str(d) for d in frames.domain[~known]})
    note = f"Unknown: {', '.join(unknown)}. {_in_force(study, frames, known)} {_NOTE}"
    return section("Does it notice what the library does not know?", _table(found), note=note)


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
    parameters = study.info.parameters
    settings = RetrievalSettings(
        parameters["temperature"],
        parameters["top_k"],
        parameters["similarity"],
        parameters["null_distance"],
    )
    distance = parameters["distance"]
    found = family_alarms(
        study,
        bank_of(AdapterLibrary.of(bundle), distance=distance),
        settings=settings,
        distance=distance,
        out_of_library=study.info.out_of_library,
        patterns=patterns,
    )
    note = f"All adapters of a family leave the library; its frames must raise the alarm. {_NOTE}"
    return section("Families taken out of the library", _families(found), note=note)


def _has_adapter(domain: str, names: Sequence[str], leave_out: str) -> bool:
    own = named_like(domain, names)
    return own is not None and own not in left_out(leave_out, names, domain)


def _table(found: Sequence[Alarm]) -> str:
    rows: list[tuple[Cell, ...]] = [
        (a.signal.replace("_", " "), a.known, a.unknown, a.auroc, 100 * a.tpr) for a in found
    ]
    header = ("signal", "known frames", "unknown frames", "AUROC", "found at 1 % false, %")
    return table(header, rows, digits=2, sortable=True)


def _families(found: Sequence[FamilyAlarm]) -> str:
    rows: list[tuple[Cell, ...]] = []
    for each in found:
        by_name = {a.signal: a for a in each.alarms}
        novelty, nearest = by_name["novelty"], by_name["nearest_distance"]
        rows.append(
            (
                each.family.strip("*"),
                novelty.unknown,
                novelty.auroc,
                100 * novelty.tpr,
                nearest.auroc,
                100 * nearest.tpr,
                100 * each.found,
                100 * each.false_alarms,
            )
        )
    header = (
        "unknown", "frames", "AUROC novelty", "found %", "AUROC distance", "found % ",
        "found in force %", "false alarms in force %",
    )  # fmt: skip
    return table(header, rows, digits=2, sortable=True)
