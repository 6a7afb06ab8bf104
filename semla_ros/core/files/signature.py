"""minisign signatures: whether somebody who is trusted vouches for the bytes of a file.

`minisign -Sm FILE` writes `FILE.minisig`, `minisign -G` makes a pair of keys; here signatures are
only verified. Ed25519 comes from the package `cryptography`, which nothing else here needs: it is
imported when keys are read.

Source: https://jedisct1.github.io/minisign/ (file formats, both signature algorithms).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semla_ros.core.errors import ConfigError, SemlaError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SUFFIX = ".minisig"
MAX_SIGNATURE_BYTES = 16_384
"""minisign writes at most 9.5 kB: comments of 1 kB and 8 kB."""
MAX_KEY_BYTES = 4096

_LEGACY, _PREHASHED = b"Ed", b"ED"
_UNTRUSTED, _TRUSTED = b"untrusted comment: ", b"trusted comment: "
_ID_BYTES, _KEY_BYTES, _SIGNATURE_BYTES = 8, 32, 64


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """One public key.

    Attributes:
        key_id: As `minisign` prints it, 16 hex digits.
        file: Name of the file it was read from.
        public: The key itself.
    """

    key_id: str
    file: str
    public: Ed25519PublicKey

    def __str__(self) -> str:
        return f"{self.key_id} ({self.file})"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who vouches for a file.

    Attributes:
        key: The trusted key that signed.
        comment: The trusted comment, covered by the signature.
    """

    key: TrustedKey
    comment: str

    def __str__(self) -> str:
        return f"{self.key}, {self.comment!r}"


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The public keys whose signatures count, by id."""

    by_id: Mapping[str, TrustedKey]

    def __str__(self) -> str:
        return ", ".join(str(key) for key in self.by_id.values())

    def check(self, path: Path, content: bytes, *, error: type[SemlaError]) -> Signer:
        """Return who signed `content`, read from `path`; the signature lies beside it.

        Raises:
            SemlaError: An `error`: no signature, not by a trusted key, or not of this content.
        """
        where = f"{path.parent.name}/{path.name}{SUFFIX}"
        signature = _read_signature(path.with_name(path.name + SUFFIX), where, self, error)
        return self.verify(content, signature, where=where, error=error)

    def verify(
        self, content: bytes, signature: bytes, *, where: str, error: type[SemlaError]
    ) -> Signer:
        """Return who signed `content`, trusted comment included.

        Args:
            content: What was signed.
            signature: Bytes of the `.minisig` file.
            where: Names the signature in messages.
            error: What to raise.

        Raises:
            SemlaError: An `error`: malformed, not by a trusted key, or not of this content.
        """
        algorithm, key_id, signed, comment, whole = _parse_signature(signature, where, error)
        key = self.by_id.get(key_id)
        if key is None:
            raise error(
                f"{where}: expected a signature by a trusted key ({self}), got one by {key_id}: "
                "sign it with a trusted key, or add that key's file to trusted_keys"
            )
        hashed = hashlib.blake2b(content).digest() if algorithm == _PREHASHED else content
        if not _fits(key, signed, hashed):
            raise error(
                f"{where}: expected the signature of what is there, got that of other content by "
                f"{key}: the file was changed after it was signed; restore it or sign it again"
            )
        if not _fits(key, whole, signed + comment):
            raise error(
                f"{where}: expected the trusted comment that {key} signed, got {comment[:80]!r}: "
                "the comment was changed; restore the signature or sign again"
            )
        return Signer(key, comment.decode("utf-8", errors="replace"))


def read_trusted_keys(path: Path) -> TrustedKeys:
    """Return the minisign public keys in file `path`, or in the `*.pub` files of folder `path`.

    Raises:
        ConfigError: None there, one cannot be read, or `cryptography` is missing.
    """
    try:
        files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
        keys = [_read_key(file) for file in files]
    except OSError as error:
        raise ConfigError(
            f"trusted_keys: cannot read {str(path)!r}: {error.strerror or error}: give a minisign "
            "public key or a folder of *.pub"
        ) from error
    if not keys:
        raise ConfigError(
            f"trusted_keys: expected minisign public keys *.pub in {str(path)!r}, found none: "
            "copy the signer's public key there"
        )
    return TrustedKeys({key.key_id: key for key in keys})


def _read_key(path: Path) -> TrustedKey:
    with path.open("rb") as stream:
        lines = _lines(stream.read(MAX_KEY_BYTES))
    raw = _decoded(lines[1], len(_LEGACY) + _ID_BYTES + _KEY_BYTES) if len(lines) == 2 else None
    if raw is None or not lines[0].startswith(_UNTRUSTED) or raw[:2] != _LEGACY:
        raise ConfigError(
            f"trusted_keys: expected a minisign public key in {str(path)!r}, got something else: "
            "copy the .pub file that `minisign -G` wrote"
        )
    public = _ed25519().from_public_bytes(raw[-_KEY_BYTES:])
    return TrustedKey(_shown_id(raw[2 : 2 + _ID_BYTES]), path.name, public)


def _ed25519() -> type[Ed25519PublicKey]:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise ConfigError(
            "trusted_keys asks for signatures, which needs the Python package 'cryptography': "
            "apt install python3-cryptography, or pip install '.[signed]'"
        ) from error
    return Ed25519PublicKey


def _read_signature(path: Path, where: str, keys: TrustedKeys, error: type[SemlaError]) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SIGNATURE_BYTES + 1)
    except FileNotFoundError as reason:
        raise error(
            f"{where}: expected a signature by a trusted key ({keys}), found none: sign it "
            f"(minisign -Sm {path.name.removesuffix(SUFFIX)}), or leave trusted_keys empty"
        ) from reason
    except OSError as reason:
        raise error(
            f"{where}: cannot be read ({reason}): check the disk and its rights"
        ) from reason
    return content


def _parse_signature(
    content: bytes, where: str, error: type[SemlaError]
) -> tuple[bytes, str, bytes, bytes, bytes]:
    """Return algorithm, key id, signature, trusted comment and the signature over both."""
    lines = _lines(content)
    if len(content) <= MAX_SIGNATURE_BYTES and len(lines) == 4:
        signed = _decoded(lines[1], len(_LEGACY) + _ID_BYTES + _SIGNATURE_BYTES)
        whole = _decoded(lines[3], _SIGNATURE_BYTES)
        titled = lines[0].startswith(_UNTRUSTED) and lines[2].startswith(_TRUSTED)
        if titled and signed and whole and signed[:2] in (_LEGACY, _PREHASHED):
            key_id = _shown_id(signed[2 : 2 + _ID_BYTES])
            comment = lines[2].removeprefix(_TRUSTED)
            return signed[:2], key_id, signed[-_SIGNATURE_BYTES:], comment, whole
    raise error(
        f"{where}: expected a minisign signature of four lines, at most {MAX_SIGNATURE_BYTES} "
        "bytes, got something else: copy it again, or sign again"
    )


def _fits(key: TrustedKey, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.public.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _lines(content: bytes) -> list[bytes]:
    """Return the lines of a file, which ends with one; minisign on Windows ends them by CR LF."""
    return [line.removesuffix(b"\r") for line in content.removesuffix(b"\n").split(b"\n")]


def _decoded(line: bytes, length: int) -> bytes | None:
    try:
        raw = base64.b64decode(line, validate=True)
    except binascii.Error:
        return None
    return raw if len(raw) == length else None


def _shown_id(raw: bytes) -> str:
    return f"{int.from_bytes(raw, 'little'):016X}"
