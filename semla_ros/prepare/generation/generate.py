"""`semla generate`: an entry of the library for a domain that nobody has frames of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, file_sha256, open_bundle
from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.captions import captions_content
from semla_ros.library.generated import WEIGHTED, Provenance, provenance_text
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.library.seal import CAPTIONS_FILE, GENERATED_FILE, TENSOR_FILE
from semla_ros.library.statistics import DomainStatistics
from semla_ros.library.text_prior import Descriptions, TextPrior
from semla_ros.navigator.text_encoder import OnnxTextEncoder
from semla_ros.prepare.adapters.history import changing
from semla_ros.prepare.generation.combine import Combined, combine
from semla_ros.prepare.training.entry import card_text, require_free_name, write_entry

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """What is asked for.

    Attributes:
        bundle: Folder of the bundle.
        text: What the domain's images show, in a sentence.
        name: Of the new adapter; "": made of the text.
    """

    bundle: Path
    text: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class GeneratedAdapter:
    """What came of it.

    Attributes:
        folder: The entry.
        combined: The adapter, and how it compares with the library.
        provenance: What it was made of.
    """

    folder: Path
    combined: Combined
    provenance: Provenance


def generate(request: GenerateRequest) -> GeneratedAdapter:
    """Return the adapter that is now in the library, sealed and marked as generated.

    Adapters that were generated themselves are no experts.

    Raises:
        BundleError: The bundle's navigator reads no text.
        AdapterError: A text or name that cannot be kept, or a name that is taken.
        LibraryError: Fewer than three adapters with captions, or a text far from all of them.
    """
    bundle = open_bundle(request.bundle, verify=False)
    text = " ".join(request.text.split())
    captions = _caption(text)
    name = request.name or name_of(text)
    require_free_name(bundle, name, replaces=False)
    library = AdapterLibrary.of(bundle, use_generated=False)
    prior = _prior(bundle, library, text)
    weights = expert_weights(bundle, prior)
    combined = combine([library.get(n) for n in library.names], weights, name=name)
    provenance = Provenance(
        text=text,
        method=WEIGHTED,
        experts=weights,
        files={n: file_sha256(library.root / n / TENSOR_FILE) for n in weights},
        similarity=min(1.0, max(prior.cosines.values())),
        distance=combined.distance,
        nearest=combined.nearest,
    )
    with changing(library.root, f"generated {name}"):
        folder = write_entry(
            bundle,
            combined.adapter,
            statistics=_statistics(bundle, library, weights),
            card=_card(bundle, combined.adapter, provenance),
            documents={
                CAPTIONS_FILE: captions,
                GENERATED_FILE: provenance_text(provenance).encode(),
            },
        )
    return GeneratedAdapter(folder, combined, provenance)


def name_of(text: str) -> str:
    """Return an adapter's name made of a text.

    Raises:
        AdapterError: The text holds no letter of a to z and no digit.
    """
    name = _NOT_IN_NAMES.sub("-", text.lower()).strip("-")[:_NAME_LENGTH].rstrip("-")
    if not name:
        raise AdapterError(f"expected letters to make a name of, got {text!r}: give --name")
    return name


def expert_weights(bundle: ModelBundle, prior: TextPrior) -> dict[str, float]:
    """Return adapter -> weight, heaviest first: what the text says of them, the base aside."""
    names = tuple(prior.cosines)
    settings = RetrievalSettings(top_k=bundle.manifest.defaults.top_k)
    mix = retrieve(names, np.ones(len(names)), settings=settings, prior=prior, share=1.0)
    return dict(zip(mix.names, mix.weights, strict=True))


def _caption(text: str) -> bytes:
    try:
        return captions_content([text])
    except ValueError as error:
        raise AdapterError(f"{error}: describe place, weather and light in a sentence") from error


def _prior(bundle: ModelBundle, library: AdapterLibrary, text: str) -> TextPrior:
    encoder = OnnxTextEncoder(bundle)
    descriptions = Descriptions.read(library.captions, encoder.encode)
    temperature = bundle.manifest.defaults.text_temperature
    return descriptions.prior(text, encoder.encode([text])[0], temperature=temperature)


def _statistics(
    bundle: ModelBundle, library: AdapterLibrary, weights: Mapping[str, float]
) -> DomainStatistics:
    """Return the predicted centroid: the experts' weighted mean; nothing else is known."""
    navigator = bundle.manifest.navigator
    if navigator is None:
        raise LibraryError("expected a navigator, got none")
    places = {name: library.statistics[name].centroid for name in weights}
    centroid = np.sum([w * places[n].astype(np.float64) for n, w in weights.items()], axis=0)
    return DomainStatistics(centroid=centroid.astype(np.float32), encoder=navigator.identity)


def _card(bundle: ModelBundle, adapter: LoraAdapter, provenance: Provenance) -> str:
    experts = ", ".join(f"{name} {weight:.2f}" for name, weight in provenance.experts.items())
    facts = {"base": bundle.manifest.base_model, "generated": True, **asdict(provenance)}
    return card_text(
        adapter.name,
        licence="",
        summary=[
            f"Generated from words: {provenance.text!r}. Nobody has seen an image of this domain.",
            "",
            f"- the weighted sum of the changes of {experts}",
            f"- its centroid is predicted; nearest adapter: {provenance.nearest}, at a distance "
            f"(1 - cosine) of {provenance.distance:.2f}",
        ],
        facts=facts,
        by="generate",
    )
