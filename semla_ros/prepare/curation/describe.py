"""`semla library describe`: an adapter's domain in words, from its centroid."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, NavigatorSpec, open_bundle
from semla_ros.core.errors import (
    AdapterError,
    BundleError,
    ConfigError,
    LibraryError,
    TrainingError,
)
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.shown import utf8
from semla_ros.library.captions import read_captions
from semla_ros.library.statistics import DomainStatistics
from semla_ros.navigator.prompts import PromptEmbeddings, read_prompts
from semla_ros.prepare.curation.captions import Captioner, sample_images
from semla_ros.prepare.curation.verify import adapter_folders, asked, contract_of

DESCRIPTION = "description.json"
"""Lies beside the statistics, for people and other programs; captions are read from it again."""

_FORMAT = 1
_MAX_BYTES = 4_000_000
_PROPOSED = 3
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near a prompt lies to a domain's centroid: the cosine, -1 to 1."""

    group: str
    prompt: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Caption:
    """What a captioning model says of one image of the domain."""

    image: str
    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Description:
    """One domain in words.

    Attributes:
        name: The adapter.
        likenesses: Every prompt, nearest first.
        captions: Of sample images, where they were asked for once.
        sentences: Its captions in the library.
        problem: Why there are none, else empty.
    """

    name: str
    likenesses: tuple[Likeness, ...] = ()
    captions: tuple[Caption, ...] = ()
    sentences: tuple[str, ...] = ()
    problem: str = ""

    @property
    def words(self) -> dict[str, str]:
        """The nearest prompt of each group."""
        found: dict[str, str] = {}
        for each in self.likenesses:
            found.setdefault(each.group, each.prompt)
        return found

    @property
    def proposals(self) -> tuple[str, ...]:
        """Sentences for a domain without any: its nearest prompts."""
        return tuple(f"a photo of {each.prompt}" for each in self.likenesses[:_PROPOSED])


@dataclass(frozen=True, slots=True)
class DescribeRequest:
    """What to describe.

    Attributes:
        bundle: The bundle's folder.
        names: Adapters; none: all.
        text_model: open_clip model (`NAME`, `NAME:PRETRAINED`, `NAME:FILE`) whose text tower
            makes the prompts; None: the bundle brings them.
        prompts: List of prompts for `text_model`, see `read_prompt_set`; None: the usual one.
        captioner: Loads what captions `images`, once everything else is known to be in order;
            None: no new captions.
        images: Folder of images of the one domain in `names`.
    """

    bundle: Path
    names: tuple[str, ...] = ()
    text_model: str | None = None
    prompts: str | None = None
    captioner: Callable[[], Captioner] | None = None
    images: Path | None = None


def describe_library(request: DescribeRequest) -> tuple[Description, ...]:
    """Return the domains in words, and write them to `description.json` beside the statistics.

    Raises:
        SemlaError: No bundle, no such adapter, or no words for its navigator.
    """
    bundle = open_bundle(request.bundle, verify=False)
    chosen = asked(request.names, adapter_folders(bundle.library))
    if request.captioner is not None and (len(request.names) != 1 or request.images is None):
        raise ConfigError("captions expect one adapter and a folder: NAME --images DIR")
    prompts = _prompts(bundle, request)
    folders = (bundle.library / name for name in chosen)
    return tuple(_describe(folder, bundle, prompts, request) for folder in folders)


def likenesses(statistics: DomainStatistics, prompts: PromptEmbeddings) -> tuple[Likeness, ...]:
    """Return every prompt with its cosine to the centroid, nearest first.

    Source: CLIP's zero-shot classification, of a mean image instead of one image.
    """
    centroid = statistics.centroid.astype(np.float64)
    length = float(np.linalg.norm(centroid))
    cosines = prompts.embeddings.astype(np.float64) @ centroid / (length or 1.0)
    order = np.argsort(-cosines, kind="stable")
    return tuple(
        Likeness(prompts.groups[i], prompts.prompts[i], round(float(cosines[i]), 6)) for i in order
    )


def _prompts(bundle: ModelBundle, request: DescribeRequest) -> PromptEmbeddings:
    spec = bundle.manifest.navigator
    if spec is None:
        raise BundleError(
            f"bundle {bundle.manifest.name!r} has no navigator: there is no centroid to name"
        )
    if request.text_model is not None:
        found = _by_text_model(spec, request.text_model, request.prompts)
    elif request.prompts is not None:
        raise ConfigError("--prompts goes with --text-model: the bundle's own list is built in")
    elif not bundle.navigator_prompts.is_file():
        raise BundleError(
            f"bundle {bundle.manifest.name!r} brings no words for its navigator "
            f"{spec.identity!r}: it was made before they existed, or its navigator has no text "
            "tower (as DINOv2); give --text-model NAME[:CHECKPOINT] of the open_clip model it is"
        )
    else:
        found = read_prompts(bundle.navigator_prompts)
    if found.encoder != spec.identity or found.embeddings.shape[1] != spec.dim:
        raise BundleError(
            f"expected words for the navigator {spec.identity!r} of length {spec.dim}, got "
            f"{found.encoder!r} and {found.embeddings.shape[1]}: name the model and weights that "
            "the navigator was made of"
        )
    return found


def _by_text_model(spec: NavigatorSpec, model: str, prompts: str | None) -> PromptEmbeddings:
    name, _, tail = model.rpartition(":")
    given = Path(tail) if name and Path(tail).is_file() else None
    try:
        from semla_ros.prepare.bundler.navigator_import import load_navigator
        from semla_ros.prepare.bundler.prompt_sets import DEFAULT_SET

        parts = load_navigator(
            name if given else model, given, resize=spec.resize, prompts=prompts or DEFAULT_SET
        )
    except ModuleNotFoundError as error:
        raise ConfigError(f"--text-model needs {error.name!r}: pip install '.[train]'") from error
    except TrainingError as error:
        raise ConfigError(
            f"--text-model {model!r}: {error} (here weights follow the name: NAME:CHECKPOINT)"
        ) from error
    if parts.prompts is None:
        raise ConfigError(f"{model!r} has no text tower that can be used: see the warning above")
    return parts.prompts


def _describe(
    folder: Path, bundle: ModelBundle, prompts: PromptEmbeddings, request: DescribeRequest
) -> Description:
    name = folder.name
    try:
        statistics = contract_of(bundle).statistics(folder, name)
        sentences = read_captions(folder)
    except AdapterError as error:
        return Description(name, problem=str(error))
    if statistics is None:
        return Description(name, problem="it has no statistics")
    key = {
        "encoder": prompts.encoder,
        "prompt_set": prompts.prompt_set,
        "centroid": hashlib.sha256(statistics.centroid.tobytes()).hexdigest()[:16],
    }
    path = folder / DESCRIPTION
    if request.captioner is not None and request.images is not None:
        captions = caption_images(request.captioner(), request.images)
    else:
        captions = _kept_captions(path)
    description = Description(name, likenesses(statistics, prompts), captions, sentences)
    _write(path, key, description)
    return description


def caption_images(captioner: Captioner, folder: Path) -> tuple[Caption, ...]:
    """Return captions of a few images of `folder`, evenly spaced.

    Raises:
        LibraryError: There are none, or the model cannot be run.
    """
    return tuple(
        Caption(path.name, captioner.caption(rgb), captioner.name)
        for path, rgb in sample_images(folder)
    )


def _kept_captions(path: Path) -> tuple[Caption, ...]:
    """Return the captions of an earlier run; whatever cannot be read counts as none."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return ()
        data = from_json(path.read_bytes())
        return tuple(
            Caption(str(x["image"]), str(x["text"]), str(x["model"])) for x in data["captions"]
        )
    except (OSError, ValueError, LookupError, TypeError):
        return ()


def _write(path: Path, key: Mapping[str, str], description: Description) -> None:
    """Write what is new; where the library cannot be written, only say so."""
    data = {
        "format": _FORMAT,
        "key": dict(key),
        "words": description.words,
        "likenesses": [asdict(each) for each in description.likenesses],
        "captions": [asdict(each) for each in description.captions],
    }
    content = utf8(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    try:
        known = path.is_file() and path.stat().st_size == len(content)
        if not known or path.read_bytes() != content:
            write_file(path, content, error=LibraryError)
    except (LibraryError, OSError) as error:
        _LOG.warning("%s is not kept: %s", path.name, error)
