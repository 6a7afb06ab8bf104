"""`<domain>/SHA256SUMS`: the bytes an adapter had when somebody last vouched for it.

Lines are `<sha256>  <file>`, so that `sha256sum -c SHA256SUMS` checks them as well. The bytes that
are hashed are the bytes that are parsed: a file is read once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.whole_file import write_file

if TYPE_CHECKING:
    from semla_ros.core.files.signature import Signer, TrustedKeys

SEAL_FILE = "SHA256SUMS"
ACCEPT, REFUSE = "accept", "refuse"
UNSEALED_POLICIES = (ACCEPT, REFUSE)
"""What happens to an adapter without a seal."""

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
STATISTICS_ENDING = "_statistics.npz"
DOCUMENTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING", "NOTICE", "README.md")
MAX_DOCUMENT_BYTES = 1_000_000
MAX_SEAL_BYTES = 65_536

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<file>[^/\\\0\n]+)")
_SHOWN = 12


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

    @property
    def content(self) -> bytes:
        """The bytes of `SHA256SUMS`, files in order."""
        lines = (f"{self.digests[file]}  {file}\n" for file in sorted(self.digests))
        return "".join(lines).encode()

    def require(self, file: str) -> str:
        """Return the sha256 that `file` must have.

        Raises:
            AdapterError: The seal does not name it.
        """
        if file not in self.digests:
            raise AdapterError(f"{self.where}: does not list {file}, which is there: {_REMEDY}")
        return self.digests[file]

    def check(self, file: str, content: bytes) -> None:
        """Return if `content` is what was sealed as `file`.

        Raises:
            AdapterError: It is not, or the seal does not name the file.
        """
        expected, got = self.require(file), sha256_of(content)
        if got != expected:
            raise AdapterError(
                f"{self.where}: expected sha256 {expected[:_SHOWN]}… of {file}, got "
                f"{got[:_SHOWN]}…: the file was changed or damaged: {_REMEDY}"
            )


_REMEDY = (
    "copy the adapter again, or, if you trust what is there, semla library seal FOLDER --replace"
)


def sha256_of(content: bytes) -> str:
    """Return the hex sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


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
            raise AdapterError(f"{where}: lists {file}, which is missing: {_REMEDY}")
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
            f"{where}: expected at most {MAX_SEAL_BYTES} bytes: this is no seal: {_REMEDY}"
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
        raise AdapterError(f"{where}: damaged ({error}): {_REMEDY}") from error
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or match["file"] in digests:
            raise AdapterError(
                f"{where}: expected '<sha256>  <file>', each file once, got line {number} "
                f"{line[:80]!r}: {_REMEDY}"
            )
        if not _is_part(match["file"]):
            raise AdapterError(
                f"{where}: lists {match['file']!r}, which is no part of an adapter: {_REMEDY}"
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


def write_seal(folder: Path) -> Seal:
    """Seal what lies in `folder` now, in one step; return the seal.

    Raises:
        AdapterError: Nothing to seal, or a file cannot be read or written.
    """
    try:
        files = [path for path in sorted(folder.iterdir()) if _is_part(path.name)]
        digests = {path.name: _digest(path) for path in files if path.is_file()}
    except OSError as error:
        raise AdapterError(f"cannot seal {str(folder)!r}: {error}: check the disk") from error
    if not digests:
        raise AdapterError(f"cannot seal {str(folder)!r}: it holds no part of an adapter")
    return _written(folder, digests)


def reseal_file(path: Path) -> None:
    """Bring the seal beside `path` up to date with that one file; the others keep their lines.

    An adapter without a seal stays without: nobody has vouched for its other files.

    Raises:
        AdapterError: The seal is damaged or cannot be written.
    """
    folder = path.parent
    if not (folder / SEAL_FILE).exists() or not _is_part(path.name):
        return
    before = parse_seal((folder / SEAL_FILE).read_bytes(), f"{folder.name}/{SEAL_FILE}")
    _written(folder, {**before.digests, path.name: _digest(path)})


def rename_sealed(folder: Path, old: str, new: str | None) -> None:
    """Let the seal in `folder` say of the file `new` what it says of `old`; nothing is hashed.

    Args:
        folder: Of the adapter; without a seal nothing happens.
        old: A file that the seal lists, or not.
        new: Its other name; None: `old` leaves the list.

    Raises:
        AdapterError: The seal is damaged or cannot be written.
    """
    if not (folder / SEAL_FILE).exists():
        return
    seal = parse_seal((folder / SEAL_FILE).read_bytes(), f"{folder.name}/{SEAL_FILE}")
    digests = dict(seal.digests)
    if old not in digests:
        return
    if new is None:
        del digests[old]
    else:
        digests[new] = digests[old]
    _written(folder, digests)


def check_against(seal: Seal, folder: Path) -> None:
    """Return if every file of `seal` in `folder` has the bytes that were sealed.

    Raises:
        AdapterError: One has not; the message names it.
    """
    for file, expected in seal.digests.items():
        got = _digest(folder / file)
        if got != expected:
            raise AdapterError(
                f"{seal.where}: expected sha256 {expected[:_SHOWN]}… of {file}, got "
                f"{got[:_SHOWN]}…: the file was changed or damaged: {_REMEDY}"
            )


def copy_signature(source: Path, target: Path) -> None:
    """Copy the signature of the seal in folder `source` to `target`, if both seals are the same.

    Raises:
        OSError: It cannot be read or written.
    """
    from semla_ros.core.files.signature import MAX_SIGNATURE_BYTES, SUFFIX

    signature = source / (SEAL_FILE + SUFFIX)
    if not signature.is_file() or signature.stat().st_size > MAX_SIGNATURE_BYTES:
        return
    if (source / SEAL_FILE).read_bytes() == (target / SEAL_FILE).read_bytes():
        shutil.copyfile(signature, target / signature.name)


def _written(folder: Path, digests: Mapping[str, str]) -> Seal:
    seal = Seal(dict(digests), f"{folder.name}/{SEAL_FILE}")
    write_file(folder / SEAL_FILE, seal.content, error=AdapterError)
    return seal


def _is_part(file: str) -> bool:
    parts = (CONFIG_FILE, TENSOR_FILE, *DOCUMENTS)
    return file in parts or (file.endswith(STATISTICS_ENDING) and not file.startswith("."))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
