"""Saved studies side by side: `semla report A B C`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.analysis.summary import comparison_table
from semla_ros.evaluation.bars import SERIES_COLORS, BarRow, grouped_bars
from semla_ros.evaluation.files import json_text, write_file
from semla_ros.evaluation.page import page, section, table_section, verdict_list, write_page
from semla_ros.evaluation.report.findings import Findings, findings
from semla_ros.evaluation.report.verdict import verdict
from semla_ros.evaluation.study.store import RESULTS
from semla_ros.evaluation.study.study import GATED, Study
from semla_ros.evaluation.table import (
    Cell,
    ResultTable,
    comma_separated,
    latex,
    markdown,
    table_of,
)


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
    found = {name: findings(study) for name, study in zip(names, studies, strict=True)}
    verdicts = {
        name: verdict(study, each)
        for study, (name, each) in zip(studies, found.items(), strict=True)
    }
    results, support = comparison_table(studies, names), support_table(found)
    write_page(out / "index.html", _page(studies, verdicts, results, support))
    numbers = {
        name: {"verdict": list(verdicts[name]), "gains": [g.points for g in each.gains]}
        for name, each in found.items()
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


def support_table(found: Mapping[str, Findings]) -> ResultTable:
    """Return what support is worth in each study, by its name."""

    def auroc(each: Findings, signal: str) -> float | None:
        return each.bad[0].auroc.get(signal) if each.bad else None

    def spearman(each: Findings) -> float | None:
        return next((a.spearman for a in each.associations if a.signal == "support"), None)

    return table_of(
        "What the support score is worth",
        found.items(),
        {
            "study": lambda f: f[0],
            "Spearman": lambda f: spearman(f[1]),
            "AUROC support": lambda f: auroc(f[1], "support"),
            "AUROC confidence": lambda f: auroc(f[1], "confidence"),
            "coverage": lambda f: None if (c := f[1].calibration) is None else c.coverage,
            "worst coverage": lambda f: (
                None if (c := f[1].calibration) is None else c.worst.coverage
            ),
        },
        name="support",
        note="AUROC for the worst quarter of each study's masks; coverage on held-out domains.",
    )


def _page(
    studies: Sequence[Study],
    verdicts: Mapping[str, Sequence[str]],
    results: ResultTable,
    support: ResultTable,
) -> str:
    words = verdict_list(f"{name}: {lines[0]}" for name, lines in verdicts.items())
    sections = [section("Verdict", words), table_section(results)]
    bars = _bars(studies, list(verdicts), results)
    if bars:
        sections.append(section("The robot's strategy, domain by domain", bars))
    sections.append(table_section(support, digits=2))
    return page(
        "Studies side by side",
        f"{', '.join(verdicts)}: from saved results, without recordings or model.",
        sections,
    )


def _bars(studies: Sequence[Study], names: Sequence[str], results: ResultTable) -> str:
    """Return bars of each study's last common strategy; empty for too many studies."""
    common = [
        s for s in studies[0].info.strategies if all(s in x.info.strategies for x in studies)
    ]
    strategy = GATED if GATED in common else (common[-1] if common else "")
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
