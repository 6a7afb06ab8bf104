"""`semla library audit`: what each adapter holds, and what of it needs a person's attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semla_ros.bundle import GraphWeight, ModelBundle, file_sha256, open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.core.types import Float64Array, LoraAdapter
from semla_ros.data.labels.class_lists import read_classes
from semla_ros.library.compatibility import check_adapter, check_statistics, with_layer_names
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
from semla_ros.prepare.curation.verify import adapter_folders


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


@dataclass(frozen=True, slots=True)
class _Read:
    """One adapter as it lies on the disk; without `adapter` it does not fit the bundle."""

    folder: Path
    adapter: LoraAdapter | None
    facts: LoraFacts | None
    sha256: str | None
    statistics: DomainStatistics | None
    problems: tuple[str, ...]


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
    known = [path.name for path in folders]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LibraryError(f"expected adapters of {known!r}, got {unknown!r}")
    vocabulary = read_classes(classes) if classes else bundle.manifest.vocabulary
    layers = {layer.name: layer for layer in bundle.manifest.layers}
    norms = _base_norms(bundle)
    bar = tqdm(folders, desc="adapters", unit="adapter", disable=None, leave=False)
    read = [_read(path, bundle, layers, norms) for path in bar]
    whole = [each.adapter for each in read if each.adapter is not None]
    cosines = delta_cosines(whole)
    shared = _shared_findings(read, cosines)
    navigator = bundle.manifest.navigator
    return LibraryAudit(
        bundle=bundle.manifest.name,
        base_model=bundle.manifest.base_model,
        encoder=navigator.identity if navigator else None,
        adapters=tuple(
            _audited(each, vocabulary.names, shared.get(each.folder.name, ()))
            for each in read
            if not names or each.folder.name in names
        ),
        cosines=cosines,
        compared=tuple(adapter.name for adapter in whole),
    )


def _base_norms(bundle: ModelBundle) -> dict[str, float]:
    base = BaseWeights.open(bundle)
    return {name: float(np.linalg.norm(base.get(name))) for name in base.layers}


def _read(
    folder: Path,
    bundle: ModelBundle,
    layers: Mapping[str, GraphWeight],
    norms: Mapping[str, float],
) -> _Read:
    problems: list[str] = []
    adapter = facts = statistics = None
    try:
        whole = with_layer_names(read_whole_adapter(folder), layers)
        facts = lora_facts(whole, layers, norms)
        live = {name: layer for name, layer in whole.layers.items() if layer.lora_b.any()}
        adapter = replace(whole, layers=live)
        manifest = bundle.manifest
        base, names = manifest.base_model, manifest.base_names
        check_adapter(adapter, layers, base_model=base, base_names=names)
    except AdapterError as error:
        problems.append(str(error))
        adapter = None
    try:
        statistics = read_statistics(folder, folder.name)
        spec = bundle.manifest.navigator
        if spec is not None:
            check_statistics(statistics, folder.name, encoder=spec.identity, dim=spec.dim)
    except AdapterError as error:
        if bundle.manifest.navigator is not None:
            problems.append(str(error))
    tensors = folder / TENSOR_FILE
    sha256 = file_sha256(tensors) if tensors.is_file() else None
    return _Read(folder, adapter, facts, sha256, statistics, tuple(problems))


def _shared_findings(
    read: Sequence[_Read], cosines: Float64Array
) -> dict[str, tuple[Finding, ...]]:
    """Return what shows only among all adapters, by name."""
    found: dict[str, list[Finding]] = {}
    facts = {each.folder.name: each.facts for each in read if each.facts is not None}
    hashes = {each.folder.name: each.sha256 for each in read if each.sha256 is not None}
    names = [each.adapter.name for each in read if each.adapter is not None]
    places = {each.folder.name: each.statistics for each in read if each.statistics is not None}
    for name, finding in (
        *outlier_findings(facts),
        *start_findings(facts),
        *twin_findings(names, cosines, hashes),
        *centroid_findings(places),
    ):
        found.setdefault(name, []).append(finding)
    return {name: tuple(items) for name, items in found.items()}


def _audited(each: _Read, classes: Sequence[str], shared: tuple[Finding, ...]) -> AdapterAudit:
    name = each.folder.name
    licence = stated_licence(each.folder)
    own = adapter_findings(
        name,
        each.facts,
        each.statistics,
        classes=classes,
        licence=licence,
    )
    problems = tuple(Finding(True, text) for text in each.problems)
    sealed = (each.folder / SEAL_FILE).exists()
    seal = () if sealed else (Finding(False, "unsealed: semla library seal, once you trust it"),)
    findings = sorted((*problems, *own, *shared, *seal), key=lambda f: not f.attention)
    return AdapterAudit(name, each.sha256, licence, each.facts, each.statistics, tuple(findings))
