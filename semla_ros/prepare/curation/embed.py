"""`semla library embed`: a domain's images become its statistics."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import LibraryError
from semla_ros.core.types import UInt8Array
from semla_ros.data.inputs import InputFrame
from semla_ros.library.seal import TENSOR_FILE
from semla_ros.library.statistics import DomainStatistics, statistics_path
from semla_ros.library.storage import check_name
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.prepare.adapters.changes import disk, edited, staging
from semla_ros.prepare.adapters.history import changing
from semla_ros.prepare.adapters.seals import reseal_file, write_seal
from semla_ros.prepare.adapters.write import write_statistics
from semla_ros.prepare.curation.embedding_store import Block, EmbeddingStore, LeftOut, open_store
from semla_ros.prepare.curation.sources import SourceOptions, Sources, open_sources
from semla_ros.prepare.curation.spread import domain_statistics

BLOCK = 16
"""Images between two writes; a resumed run forms the same blocks."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What to embed.

    Attributes:
        bundle: The bundle's folder; its navigator embeds.
        sources: Folders of images, images, recordings, videos.
        name: The domain.
        options: How sources are read.
        replace: Overwrite statistics that are there.
        out: Write this `.npz` instead of the library's.
        threads: CPU threads; 0: all cores but one.
    """

    bundle: Path
    sources: tuple[Path, ...]
    name: str
    options: SourceOptions = field(default_factory=SourceOptions)
    replace: bool = False
    out: Path | None = None
    threads: int = 0


@dataclass(frozen=True, slots=True)
class EmbeddedDomain:
    """What came of it.

    Attributes:
        path: The file written.
        statistics: What it holds.
        left_out: Images without an embedding.
        resumed: Embeddings taken over from an interrupted run.
        adapter: Whether the domain has an adapter beside its statistics.
    """

    path: Path
    statistics: DomainStatistics
    left_out: tuple[LeftOut, ...]
    resumed: int
    adapter: bool


def embed_domain(request: EmbedRequest) -> EmbeddedDomain:
    """Return the statistics written for a domain; the file appears whole or not at all.

    What is finished is kept beside it while it runs, so that the same request goes on after an
    interruption and ends with the same bytes.

    Raises:
        SemlaError: Statistics are there already, no image can be read, or the disk is full.
    """
    bundle = open_bundle(request.bundle, verify=False)
    check_name(request.name)
    path = _target(request, bundle.library)
    encoder = OnnxImageEncoder(bundle, threads=request.threads)
    source = open_sources(request.sources, request.options)
    key = json.dumps([source.fingerprint, encoder.identity, BLOCK, encoder.batches])
    with open_store(_resume_path(request, path), key=key, dim=encoder.dim) as store:
        resumed = sum(len(block.rows) for block in store.blocks())
        if resumed:
            _LOG.warning("going on after %d embeddings of an interrupted run", resumed)
        _embed_rest(source, encoder, store, title=request.name)
        left_out = tuple(item for block in store.blocks() for item in block.left_out)
        if not any(len(block.rows) for block in store.blocks()):
            store.discard()
            raise LibraryError(_nothing_readable(left_out))
        statistics = domain_statistics(
            lambda: (block.rows for block in store.blocks()),
            encoder=encoder.identity,
            sources=_rows_of(source, store),
        )
        _write(path, request, statistics)
        store.discard()
    adapter = request.out is not None or (path.parent / TENSOR_FILE).is_file()
    return EmbeddedDomain(path, statistics, left_out, resumed, adapter)


def _target(request: EmbedRequest, library: Path) -> Path:
    """Return the file to write, once nothing speaks against it."""
    path = request.out or statistics_path(library / request.name, request.name)
    if request.out is not None and path.suffix != ".npz":
        raise LibraryError(f"expected --out with the ending '.npz', got {path.name!r}")
    if path.exists() and not request.replace:
        raise LibraryError(
            f"domain {request.name!r} has statistics in {str(path)!r}: give --replace to "
            "overwrite them"
        )
    parent = path.parent if request.out is not None else library
    if not parent.is_dir():
        raise LibraryError(f"expected the folder {str(parent)!r}, found none: make it first")
    return path


def _resume_path(request: EmbedRequest, path: Path) -> Path:
    """Return a hidden folder outside the domain's folder, which is not made before its time."""
    if request.out is not None:
        return path.with_name(f".{path.name}.resume")
    return path.parent.parent / f".{request.name}.resume"


def _embed_rest(
    source: Sources, encoder: OnnxImageEncoder, store: EmbeddingStore, *, title: str
) -> None:
    """Embed what is not in the store yet, a block at a time."""
    done = store.done
    seen = sum(len(block.rows) + len(block.left_out) for block in store.blocks())
    images = source.images(lambda index: index // BLOCK not in done)
    bar: tqdm[Any]
    with tqdm(
        total=sum(source.lengths),
        initial=seen,
        desc=title,
        unit="image",
        disable=None,
        leave=False,
    ) as bar:
        for number, members in groupby(images, key=lambda image: image.index // BLOCK):
            store.append(_embedded(number, members, encoder, bar))


def _rows_of(source: Sources, store: EmbeddingStore) -> tuple[int, ...]:
    """Return how many rows came of each recording or folder.

    A block knows which of its images were left out by name alone: around one, a row may count for
    the neighbour.
    """
    ends = np.cumsum(source.lengths)
    rows = np.zeros(len(ends), np.int64)
    for block in store.blocks():
        places = block.number * BLOCK + np.arange(len(block.rows))
        owners = np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1)
        rows += np.bincount(owners, minlength=len(ends))
    return tuple(rows.tolist())


def _embedded(
    number: int, members: Iterable[InputFrame], encoder: OnnxImageEncoder, bar: tqdm[Any]
) -> Block:
    """Return the members' embeddings; unreadable ones are left out with a warning."""
    names: list[str] = []
    left_out: list[LeftOut] = []

    def readable() -> Iterator[UInt8Array]:
        for member in members:
            if member.frame is None:
                left_out.append(LeftOut(member.name, member.reason))
            else:
                names.append(member.name)
                yield member.frame.rgb
            bar.update()

    rows = encoder.encode_batch(readable())
    finite = np.array([bool(np.isfinite(row).all()) for row in rows], dtype=np.bool_)
    left_out += [
        LeftOut(name, "it has no finite embedding")
        for name, fine in zip(names, finite, strict=True)
        if not fine
    ]
    for item in left_out:
        _LOG.warning("left out %s: %s", item.name, item.reason)
    return Block(number, rows[finite], tuple(left_out))


def _write(path: Path, request: EmbedRequest, statistics: DomainStatistics) -> None:
    """Put the file in its place in one step: in the domain's folder with its seal, new or not."""
    name, folder = request.name, path.parent
    with disk(f"write {str(path)!r}"):
        if request.out is not None:
            with staging(folder) as scratch:
                write_statistics(scratch / name, name, statistics).replace(path)
            return
        with changing(folder.parent, f"embedded {name}"):
            if folder.exists():
                with edited(folder) as copy:
                    reseal_file(write_statistics(copy, name, statistics))
                return
            with staging(folder.parent) as scratch:
                made = write_statistics(scratch / name, name, statistics)
                write_seal(made.parent)
                made.parent.rename(folder)


def _nothing_readable(left_out: tuple[LeftOut, ...]) -> str:
    first = f", the first: {left_out[0].name!r}: {left_out[0].reason}" if left_out else ""
    return f"expected at least one readable image, got none of {len(left_out)}{first}"
