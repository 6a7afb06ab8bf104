"""The report of a study: one page that needs nothing else, tables, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semla_ros.bundle import ModelBundle
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.evaluation.analysis.drive_tables import curve_table, drive_tables
from semla_ros.evaluation.analysis.gaps import library_gaps
from semla_ros.evaluation.drawing import charted
from semla_ros.evaluation.files import json_text, write_file
from semla_ros.evaluation.page import (
    BadFrame,
    headlines,
    page,
    section,
    table_section,
    verdict_list,
    write_page,
)
from semla_ros.evaluation.report.findings import Findings, findings
from semla_ros.evaluation.report.gap_files import gap_section
from semla_ros.evaluation.report.library_sections import (
    family_section,
    mix_sections,
    unknown_section,
    words_section,
)
from semla_ros.evaluation.report.sections import (
    class_notes,
    drive_sections,
    headline_numbers,
    origin_section,
    page_fills,
    result_tables,
    support_sections,
    timeline_sections,
    worst_section,
)
from semla_ros.evaluation.report.verdict import verdict
from semla_ros.evaluation.study.study import Study
from semla_ros.evaluation.table import ResultTable, comma_separated, latex, markdown
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.library_view import bank_of

PAGE, TABLES, REPORT = "index.html", "tables.md", "report.json"


def write_report(
    study: Study,
    out: Path,
    *,
    pictures: Sequence[BadFrame] = (),
    bundle: ModelBundle | None = None,
    with_latex: bool = False,
    bad_below: Sequence[float] = (),
) -> tuple[Path, ...]:
    """Write page, tables and numbers of a study into `out`; return the files.

    Args:
        study: What was evaluated.
        out: Folder, made where missing.
        pictures: The worst frames.
        bundle: Shows the library's centroids on the map; the page is whole without.
        with_latex: Also write `tables.tex`.
        bad_below: mIoU in [0, 1] below which a mask is bad; default: the worst quarter.

    Raises:
        EvaluationError: The study has no strategy, or `out` cannot be written.
    """
    found = findings(study, bad_below=bad_below)
    write_page(out / PAGE, study_page(study, found, pictures=pictures, bundle=bundle))
    tables = study_tables(study, found)
    texts = {
        TABLES: "\n".join(markdown(t) for t in tables),
        REPORT: json_text(numbers(study, found)),
        **{f"{t.name}.csv": comma_separated(t) for t in tables},
    }
    if with_latex:
        texts["tables.tex"] = "\n".join(latex(t) for t in tables)
    files = (write_file(out / name, text) for name, text in texts.items())
    return (out / PAGE, *files)


def study_page(
    study: Study,
    found: Findings,
    *,
    pictures: Sequence[BadFrame] = (),
    bundle: ModelBundle | None = None,
) -> str:
    """Return the page as HTML."""
    bank = None
    if bundle is not None:
        bank = bank_of(AdapterLibrary.of(bundle), distance="euclidean")
    fills = page_fills(study)
    sections = [
        section("Verdict", verdict_list(verdict(study, found))),
        *map(table_section, result_tables(study, found)),
        *drive_sections(study),
        *support_sections(found, fills),
        charted(lambda: unknown_section(study, found.table)),
        charted(lambda: "" if bundle is None else family_section(study, bundle)),
        *mix_sections(study, found, bank, fills),
        "" if bundle is None else words_section(bundle.library),
        *timeline_sections(study, found.strategy, fills),
        *worst_section(pictures),
        charted(lambda: gap_section(study, library_gaps(study))),
        origin_section(study, found),
    ]
    names = [r.name for r in study.recordings]
    what = names[0] if len(names) == 1 else f"{len(names)} recordings"
    return page(
        f"Evaluation of {what}",
        f"{study.info.bundle} on the {study.info.engine} engine, strategies "
        f"{', '.join(study.info.strategies)}.",
        sections,
        top=headlines(headline_numbers(study, found)) + class_notes(study),
        footer="Made by semla report from saved results; the same results give the same page.",
    )


def study_tables(study: Study, found: Findings) -> tuple[ResultTable, ...]:
    """Return the tables that are written as files; those of mIoU only where there is truth."""
    drives = (t for r in study.recordings for t in drive_tables(study, r))
    curve = curve_table(study)
    found_tables = [*result_tables(study, found), *drives, *(() if curve is None else (curve,))]
    return tuple(t for t in found_tables if t.rows)


def numbers(study: Study, found: Findings) -> dict[str, Any]:
    """Return what `report.json` holds: verdict, gains, signals, calibration."""
    report = found.calibration
    calibration = None
    if report is not None:
        calibration = {
            "coefficients": dict(zip(SIGNALS, report.line.coefficient.tolist(), strict=True)),
            "offset": report.offset,
            "target": report.target,
            "coverage": report.coverage,
            "error": report.error,
            "errors": report.errors,
            "refusal": report.refusal,
            "held_out": report.held_out,
        }
    return {
        "verdict": verdict(study, found),
        "strategy": found.strategy,
        "gains": found.gains,
        "signals": found.associations,
        "bad_masks": found.bad,
        "calibration": calibration,
        "missing": found.missing,
    }
