"""`semla library audit`: what each adapter holds, and what of it needs a person's attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semla_ros.bundle import ModelBundle, file_sha256, open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterError
from semla_ros.core.types import Float64Array, LoraAdapter
from semla_ros.data.labels.class_lists import read_classes
from semla_ros.library.compatibility import check_adapter, check_statistics, with_layer_names
from semla_ros.library.generated import read_provenance
from semla_ros.library.seal import SEAL_FILE, TENSOR_FILE
from semla_ros.library.statistics import DomainStatistics, read_statistics
from semla_ros.library.storage import read_whole_adapter
from semla_ros.prepare.curation.findings import (
    Finding,
    adapter_findings,
    centroid_findings,
    outlier_findings,
    start_findings,
    twin_findings,
)
from semla_ros.prepare.curation.licence import stated_licence
from semla_ros.prepare.curation.lora_facts import LoraFacts, delta_cosines, lora_facts
from semla_ros.prepare.curation.verify import adapter_folders, asked


@dataclass(frozen=True, slots=True)
class AdapterAudit:
    """One adapter.

    Attributes:
        name: Its folder.
        sha256: Of the tensors' file, None where there is none.
        licence: As stated in its folder, None where it is not.
        facts: What its tensors hold, None where they cannot be read.
        statistics: None where there are none that can be read.
        findings: What a person should know.
    """

    name: str
    sha256: str | None
    licence: str | None
    facts: LoraFacts | None
    statistics: DomainStatistics | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class LibraryAudit:
    """What `audit_library` found.

    Attributes:
        bundle: Name of the bundle.
        base_model: Identity of its base.
        encoder: Identity of its navigator, None without one.
        adapters: Those asked for; findings compare them with the whole library.
        cosines: (N, N) between the changes of the readable ones of `compared`.
        compared: Names behind the rows of `cosines`.
    """

    bundle: str
    base_model: str
    encoder: str | None
    adapters: tuple[AdapterAudit, ...]
    cosines: Float64Array
    compared: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing needs attention."""
        return not any(f.attention for adapter in self.adapters for f in adapter.findings)


def audit_library(
    folder: Path, names: Sequence[str] = (), *, classes: str | None = None
) -> LibraryAudit:
    """Return what the adapters of the bundle in `folder` hold.

    Args:
        folder: The bundle.
        names: Adapters; none: all.
        classes: The class list they will serve, see `read_classes`; None: the bundle's.

    Raises:
        SemlaError: No bundle, or no such adapter.
    """
    bundle = open_bundle(folder, verify=False)
    folders = adapter_folders(bundle.library)
    chosen = asked(names, folders)
    vocabulary = read_classes(classes) if classes else bundle.manifest.vocabulary
    norms = _base_norms(bundle)
    bar = tqdm(folders, desc="adapters", unit="adapter", disable=None, leave=False)
    read = [_read(path, bundle, norms, vocabulary.names) for path in bar]
    whole = [adapter for _, adapter in read if adapter is not None]
    audits = [audit for audit, _ in read]
    compared, cosines = tuple(adapter.name for adapter in whole), delta_cosines(whole)
    shared = _shared_findings(audits, compared, cosines)
    navigator = bundle.manifest.navigator
    return LibraryAudit(
        bundle=bundle.manifest.name,
        base_model=bundle.manifest.base_model,
        encoder=navigator.identity if navigator else None,
        adapters=tuple(
            _with(audit, *shared.get(audit.name, ()), *_seal_finding(bundle.library / audit.name))
            for audit in audits
            if audit.name in chosen
        ),
        cosines=cosines,
        compared=compared,
    )


def _base_norms(bundle: ModelBundle) -> dict[str, float]:
    base = BaseWeights.open(bundle)
    return {name: float(np.linalg.norm(base.get(name))) for name in base.layers}


def _read(
    folder: Path, bundle: ModelBundle, norms: Mapping[str, float], classes: Sequence[str]
) -> tuple[AdapterAudit, LoraAdapter | None]:
    """Return what shows in one adapter alone, and what of it is executed if it fits the bundle."""
    layers = {layer.name: layer for layer in bundle.manifest.layers}
    base, names = bundle.manifest.base_model, bundle.manifest.base_names
    problems: list[Finding] = []
    adapter = facts = statistics = None
    try:
        whole = with_layer_names(read_whole_adapter(folder), layers)
        facts = lora_facts(whole, layers, norms)
        live = {name: layer for name, layer in whole.layers.items() if layer.lora_b.any()}
        executed = replace(whole, layers=live)
        check_adapter(executed, layers, base_model=base, base_names=names)
        adapter = executed
    except AdapterError as error:
        problems.append(Finding(True, str(error)))
    spec = bundle.manifest.navigator
    try:
        statistics = read_statistics(folder, folder.name)
        if spec is not None:
            check_statistics(statistics, folder.name, encoder=spec.identity, dim=spec.dim)
    except AdapterError as error:
        if spec is not None:
            problems.append(Finding(True, str(error)))
    provenance = None
    try:
        provenance = read_provenance(folder)
    except AdapterError as error:
        problems.append(Finding(True, str(error)))
    tensors, licence = folder / TENSOR_FILE, stated_licence(folder)
    sha256 = file_sha256(tensors) if tensors.is_file() else None
    own = adapter_findings(
        folder.name,
        facts,
        statistics,
        classes=classes,
        licence=licence,
        provenance=provenance,
    )
    found = (*problems, *own)
    return AdapterAudit(folder.name, sha256, licence, facts, statistics, found), adapter


def _shared_findings(
    audits: Sequence[AdapterAudit], compared: Sequence[str], cosines: Float64Array
) -> dict[str, list[Finding]]:
    """Return what shows only among all adapters, by name."""
    facts = {each.name: each.facts for each in audits if each.facts is not None}
    hashes = {each.name: each.sha256 for each in audits if each.sha256 is not None}
    places = {each.name: each.statistics for each in audits if each.statistics is not None}
    found: dict[str, list[Finding]] = {}
    for name, finding in (
        *outlier_findings(facts),
        *start_findings(facts),
        *twin_findings(compared, cosines, hashes),
        *centroid_findings(places),
    ):
        found.setdefault(name, []).append(finding)
    return found


def _seal_finding(folder: Path) -> tuple[Finding, ...]:
    sealed = (folder / SEAL_FILE).exists()
    return () if sealed else (Finding(False, "unsealed: semla library seal, once you trust it"),)


def _with(audit: AdapterAudit, *more: Finding) -> AdapterAudit:
    """Return the audit with more findings, those that need attention first."""
    findings = sorted((*audit.findings, *more), key=lambda f: not f.attention)
    return replace(audit, findings=tuple(findings))
