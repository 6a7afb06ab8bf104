"""`<domain>/SHA256SUMS`: the bytes an adapter had when somebody last vouched for it.

Lines are `<sha256>  <file>`, so that `sha256sum -c SHA256SUMS` checks them as well. The bytes that
are hashed are the bytes that are parsed: a file is read once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.core.errors import AdapterError

if TYPE_CHECKING:
    from semla_ros.core.files.signature import Signer, TrustedKeys

SEAL_FILE = "SHA256SUMS"
ACCEPT, REFUSE = "accept", "refuse"
UNSEALED_POLICIES = (ACCEPT, REFUSE)
"""What happens to an adapter without a seal."""

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
CAPTIONS_FILE = "captions.yaml"
STATISTICS_ENDING = "_statistics.npz"
GENERATED_FILE = "generated.json"
"""Says that an adapter was made from words, and how; it is the mark of such an adapter."""
DOCUMENTS = (
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "LICENCE",
    "COPYING",
    "NOTICE",
    "README.md",
    GENERATED_FILE,
)
MAX_DOCUMENT_BYTES = 1_000_000
MAX_SEAL_BYTES = 65_536

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<file>[^/\\\0\n]+)")
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says.

    Attributes:
        digests: File -> hex sha256.
        where: Folder and file, for messages.
        signer: Who signed it, None where no signature was asked for.
    """

    digests: Mapping[str, str]
    where: str
    signer: Signer | None = None

    def require(self, file: str) -> str:
        """Return the sha256 that `file` must have.

        Raises:
            AdapterError: The seal does not name it.
        """
        if file not in self.digests:
            raise AdapterError(f"{self.where}: does not list {file}, which is there: {REMEDY}")
        return self.digests[file]

    def check(self, file: str, content: bytes) -> None:
        """Return if `content` is what was sealed as `file`.

        Raises:
            AdapterError: It is not, or the seal does not name the file.
        """
        expected, got = self.require(file), hashlib.sha256(content).hexdigest()
        if got != expected:
            raise AdapterError(
                f"{self.where}: expected sha256 {expected[:SHOWN]}… of {file}, got "
                f"{got[:SHOWN]}…: the file was changed or damaged: {REMEDY}"
            )


REMEDY = (
    "copy the adapter again, or, if you trust what is there, semla library seal FOLDER --replace"
)


def read_seal(folder: Path, *, trusted: TrustedKeys | None = None) -> Seal | None:
    """Return the seal in `folder`, every file that it lists being there; None without one.

    Documents are compared here, the other files when they are read.

    Args:
        folder: Of the adapter.
        trusted: Keys of which one must have signed the seal; None: signatures are not asked for.

    Raises:
        AdapterError: Damaged, unsigned, names a file that is missing or no part of an adapter,
            or a document is not the one that was sealed.
    """
    path = folder / SEAL_FILE
    if trusted is None and not path.exists() and not path.is_symlink():
        return None
    where = f"{folder.name}/{SEAL_FILE}"
    content = _seal_bytes(path, where, trusted)
    signer = trusted.check(path, content, error=AdapterError) if trusted else None
    seal = replace(parse_seal(content, where), signer=signer)
    for file in seal.digests:
        if not (folder / file).is_file():
            raise AdapterError(f"{where}: lists {file}, which is missing: {REMEDY}")
        if file in DOCUMENTS:
            read_sealed(folder / file, seal, max_bytes=MAX_DOCUMENT_BYTES)
    return seal


def _seal_bytes(path: Path, where: str, trusted: TrustedKeys | None) -> bytes:
    """Return the seal's bytes, read once: those whose signature is verified are those parsed."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SEAL_BYTES + 1)
    except FileNotFoundError as error:
        signers = f" signed by a trusted key ({trusted})" if trusted else ""
        raise AdapterError(
            f"{where}: expected a seal{signers}, found none: semla library seal, once you trust "
            f"the adapter, then minisign -Sm {SEAL_FILE} in its folder"
        ) from error
    except OSError as error:
        raise AdapterError(f"{where}: cannot be read ({error}): check the disk") from error
    if len(content) > MAX_SEAL_BYTES:
        raise AdapterError(
            f"{where}: expected at most {MAX_SEAL_BYTES} bytes: this is no seal: {REMEDY}"
        )
    return content


def parse_seal(content: bytes, where: str) -> Seal:
    """Return what the seal `content` says; `where` names it in messages.

    Raises:
        AdapterError: Not a list of sha256 and files of an adapter, each file once.
    """
    digests: dict[str, str] = {}
    try:
        lines = content.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise AdapterError(f"{where}: damaged ({error}): {REMEDY}") from error
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or match["file"] in digests:
            raise AdapterError(
                f"{where}: expected '<sha256>  <file>', each file once, got line {number} "
                f"{line[:80]!r}: {REMEDY}"
            )
        if not is_part(match["file"]):
            raise AdapterError(
                f"{where}: lists {match['file']!r}, which is no part of an adapter: {REMEDY}"
            )
        digests[match["file"]] = match["digest"]
    return Seal(digests, where)


def read_sealed(path: Path, seal: Seal | None, *, max_bytes: int) -> bytes:
    """Return the bytes of `path`, which are those that were sealed where there is a seal.

    Raises:
        AdapterError: Larger than `max_bytes`, or not what was sealed.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > max_bytes:
            raise AdapterError(
                f"{path.parent.name}/{path.name}: expected at most {max_bytes} bytes, got {size}: "
                "this is no part of an adapter"
            )
        content = stream.read(size)
    if seal is not None:
        seal.check(path.name, content)
    return content


def is_part(file: str) -> bool:
    """Return whether `file` is one that an adapter may have."""
    parts = (CONFIG_FILE, TENSOR_FILE, CAPTIONS_FILE, *DOCUMENTS)
    return file in parts or (file.endswith(STATISTICS_ENDING) and not file.startswith("."))
