"""An audit for people, as a table, and for programs, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from semla_ros.core.errors import LibraryError
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.shown import utf8
from semla_ros.library.statistics import DomainStatistics
from semla_ros.prepare.curation.audit import AdapterAudit, LibraryAudit
from semla_ros.prepare.curation.lora_facts import AGGREGATOR, IMAGE, OTHER, TEXT

_GROUPS = (IMAGE, TEXT, AGGREGATOR, OTHER)
_ABSENT = "-"


def audit_lines(audit: LibraryAudit) -> Iterator[str]:
    """Yield the audit as lines: a table, then what was found, `!` where somebody should act."""
    groups = [
        group
        for group in _GROUPS
        if any(a.facts and group in a.facts.groups for a in audit.adapters)
    ]
    head = ["adapter", "sha256", *groups, "eff. rank", "inert", "init", "statistics", "licence"]
    rows = [_row(adapter, groups) for adapter in audit.adapters]
    yield f"{audit.bundle}, base {audit.base_model}; change relative to the base's norm, by part"
    yield from _aligned([head, *rows])
    yield from _finding_lines(audit.adapters)
    acting = [a.name for a in audit.adapters if any(f.attention for f in a.findings)]
    yield f"attention needed: {', '.join(acting) or 'nothing'}"


def audit_dict(audit: LibraryAudit) -> dict[str, Any]:
    """Return the audit as JSON can hold it; equal libraries give equal contents."""
    return {
        "bundle": audit.bundle,
        "base_model": audit.base_model,
        "encoder": audit.encoder,
        "clean": audit.clean,
        "adapters": [_entry(adapter) for adapter in audit.adapters],
        "cosines": {
            "names": list(audit.compared),
            "matrix": [[round(float(v), 6) for v in row] for row in audit.cosines],
        },
    }


def write_audit(audit: LibraryAudit, path: Path) -> None:
    """Write the audit as JSON in one step.

    Raises:
        LibraryError: It cannot be written.
    """
    text = json.dumps(audit_dict(audit), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, utf8(text), error=LibraryError)


def _finding_lines(adapters: Sequence[AdapterAudit]) -> Iterator[str]:
    """Yield what was found, equal notes of several adapters as one."""
    notes: dict[str, list[str]] = {}
    for adapter in adapters:
        for finding in adapter.findings:
            if finding.attention:
                yield f"! {adapter.name}: {finding.text}"
            else:
                notes.setdefault(finding.text, []).append(adapter.name)
    for text, names in notes.items():
        everyone = len(names) == len(adapters) > 1
        yield f"  {'all' if everyone else ', '.join(names)}: {text}"


def _row(adapter: AdapterAudit, groups: Sequence[str]) -> list[str]:
    facts = adapter.facts
    sha = adapter.sha256[:12] if adapter.sha256 else _ABSENT
    licence = adapter.licence or "not stated"
    statistics = _said(adapter.statistics)
    if facts is None:
        return [adapter.name, sha, *(_ABSENT for _ in groups), *[_ABSENT] * 3, statistics, licence]
    ratios = [f"{facts.groups[g].ratio:.4f}" if g in facts.groups else _ABSENT for g in groups]
    ranks = [each.effective_rank for each in facts.groups.values()]
    rank = f"{min(ranks):.1f}..{max(ranks):.1f}" if ranks else _ABSENT
    inert = f"{facts.inert_tensors}/{facts.tensors}"
    init = facts.fingerprint[:8] if facts.fingerprint else _ABSENT
    return [adapter.name, sha, *ratios, rank, inert, init, statistics, licence]


def _said(statistics: DomainStatistics | None) -> str:
    if statistics is None:
        return "none"
    return f"{statistics.count or '?'} images"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()


def _entry(adapter: AdapterAudit) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "sha256": adapter.sha256,
        "licence": adapter.licence,
        "tensors": _tensors(adapter),
        "statistics": _statistics(adapter.statistics),
        "findings": [{"attention": f.attention, "text": f.text} for f in adapter.findings],
    }


def _tensors(adapter: AdapterAudit) -> dict[str, Any] | None:
    facts = adapter.facts
    if facts is None:
        return None
    return {
        "count": facts.tensors,
        "parameters": facts.parameters,
        "inert_count": facts.inert_tensors,
        "inert_parameters": facts.inert_parameters,
        "inert_qkv_modules": facts.inert_qkv,
        "live_modules": facts.live_modules,
        "init_fingerprint": facts.fingerprint,
        "groups": {
            name: {
                "layers": group.layers,
                "norm": group.norm,
                "ratio_to_base": group.ratio,
                "effective_rank": group.effective_rank,
            }
            for name, group in facts.groups.items()
        },
    }


def _statistics(statistics: DomainStatistics | None) -> dict[str, Any] | None:
    if statistics is None:
        return None
    return {
        "encoder": statistics.encoder,
        "count": statistics.count,
        "dim": int(statistics.centroid.shape[0]),
        "covariance": statistics.covariance is not None,
        "shrinkage": statistics.shrinkage,
        "quantiles": statistics.quantiles is not None,
    }
