"""Saved studies side by side: `semla report A B C`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.analysis.summary import comparison_table
from semla_ros.evaluation.bars import SERIES_COLORS, BarRow, grouped_bars
from semla_ros.evaluation.files import json_text, write_file
from semla_ros.evaluation.page import page, section, table_section, verdict_list, write_page
from semla_ros.evaluation.report.findings import Findings, findings
from semla_ros.evaluation.report.verdict import verdict
from semla_ros.evaluation.study.store import RESULTS
from semla_ros.evaluation.study.study import Study
from semla_ros.evaluation.table import Cell, ResultTable, comma_separated, latex, markdown


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the folders of saved studies that tell them apart.

    Raises:
        EvaluationError: Two are the same.
    """
    parts = [(p.parent if p.name == RESULTS else p).resolve().parts for p in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise EvaluationError(f"expected distinct studies, got {[str(p) for p in paths]!r}")


def write_comparison(
    studies: Sequence[Study], names: Sequence[str], out: Path, *, with_latex: bool = False
) -> tuple[Path, ...]:
    """Write page and tables of several studies into `out`; return the files.

    Args:
        studies: At least two, of any bundles; domains that not all have are left out.
        names: One for each, distinct.
        out: Folder, made where missing.
        with_latex: Also write `comparison.tex`.

    Raises:
        EvaluationError: Fewer than two studies, equal names, or `out` cannot be written.
    """
    if len(studies) < 2 or len(set(names)) != len(studies):
        raise EvaluationError(
            f"expected at least two studies with distinct names, got {list(names)!r}"
        )
    found = [findings(s) for s in studies]
    results = comparison_table(studies, names)
    support = support_table(found, names)
    write_page(out / "index.html", _page(studies, names, found, results, support))
    numbers = {
        name: {"verdict": list(verdict(s, f)), "gains": [g.points for g in f.gains]}
        for name, s, f in zip(names, studies, found, strict=True)
    }
    files = [
        out / "index.html",
        write_file(out / "comparison.csv", comma_separated(results)),
        write_file(out / "tables.md", f"{markdown(results)}\n{markdown(support)}"),
        write_file(out / "report.json", json_text(numbers)),
    ]
    if with_latex:
        files.append(write_file(out / "comparison.tex", latex(results)))
    return tuple(files)


def support_table(found: Sequence[Findings], names: Sequence[str]) -> ResultTable:
    """Return what support is worth in each study."""
    rows: list[tuple[Cell, ...]] = []
    for name, each in zip(names, found, strict=True):
        report = each.calibration
        spearman = next((a.spearman for a in each.associations if a.signal == "support"), None)
        auroc = each.bad[0].auroc if each.bad else {}
        rows.append(
            (
                name,
                spearman,
                auroc.get("support"),
                auroc.get("confidence"),
                None if report is None else report.coverage,
                None if report is None else report.worst.coverage,
            )
        )
    header = (
        "study", "Spearman", "AUROC support", "AUROC confidence", "coverage", "worst coverage",
    )  # fmt: skip
    note = "AUROC for the worst quarter of each study's masks; coverage on held-out domains."
    return ResultTable("support", "What the support score is worth", header, tuple(rows), note)


def _page(
    studies: Sequence[Study],
    names: Sequence[str],
    found: Sequence[Findings],
    results: ResultTable,
    support: ResultTable,
) -> str:
    words = verdict_list(
        f"{name}: {verdict(study, each)[0]}"
        for name, study, each in zip(names, studies, found, strict=True)
    )
    sections = [section("Verdict", words), table_section(results)]
    bars = _bars(studies, names, results)
    if bars:
        sections.append(section("The robot's strategy, domain by domain", bars))
    sections.append(table_section(support, digits=2))
    return page(
        "Studies side by side",
        f"{', '.join(names)}: from saved results, without recordings or model.",
        sections,
    )


def _bars(studies: Sequence[Study], names: Sequence[str], results: ResultTable) -> str:
    """Return bars of each study's last common strategy; empty for too many studies."""
    common = [
        s for s in studies[0].info.strategies if all(s in x.info.strategies for x in studies)
    ]
    gated = "semla-gated"
    strategy = gated if gated in common else (common[-1] if common else "")
    rows = {row[0]: row for row in results.rows if row[1] == strategy}
    domains = results.header[2:]
    if not strategy or len(studies) > len(SERIES_COLORS) or set(rows) != set(names):
        return ""
    bars = [
        BarRow(domain, tuple(_number(rows[name][i]) for name in names))
        for i, domain in enumerate(domains, start=2)
    ]
    return grouped_bars(bars, tuple(names), unit=" %")


def _number(cell: Cell) -> float:
    return cell if isinstance(cell, float) else float("nan")
