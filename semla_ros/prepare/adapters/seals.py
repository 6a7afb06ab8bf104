"""Writing seals: `SHA256SUMS` beside the files of an adapter."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from semla_ros.bundle import file_sha256
from semla_ros.core.errors import AdapterError
from semla_ros.core.files.signature import MAX_SIGNATURE_BYTES, SUFFIX
from semla_ros.core.files.whole_file import write_file
from semla_ros.library.seal import REMEDY, SEAL_FILE, SHOWN, Seal, is_part, parse_seal


def write_seal(folder: Path) -> Seal:
    """Seal what lies in `folder` now, in one step; return the seal.

    Raises:
        AdapterError: Nothing to seal, or a file cannot be read or written.
    """
    try:
        files = [path for path in sorted(folder.iterdir()) if is_part(path.name)]
        digests = {path.name: file_sha256(path) for path in files if path.is_file()}
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
    if not (folder / SEAL_FILE).exists() or not is_part(path.name):
        return
    before = parse_seal((folder / SEAL_FILE).read_bytes(), f"{folder.name}/{SEAL_FILE}")
    _written(folder, {**before.digests, path.name: file_sha256(path)})


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
        got = file_sha256(folder / file)
        if got != expected:
            raise AdapterError(
                f"{seal.where}: expected sha256 {expected[:SHOWN]}… of {file}, got "
                f"{got[:SHOWN]}…: the file was changed or damaged: {REMEDY}"
            )


def copy_signature(source: Path, target: Path) -> None:
    """Copy the signature of the seal in folder `source` to `target`, if both seals are the same.

    Raises:
        OSError: It cannot be read or written.
    """
    signature = source / (SEAL_FILE + SUFFIX)
    if not signature.is_file() or signature.stat().st_size > MAX_SIGNATURE_BYTES:
        return
    if (source / SEAL_FILE).read_bytes() == (target / SEAL_FILE).read_bytes():
        shutil.copyfile(signature, target / signature.name)


def _written(folder: Path, digests: Mapping[str, str]) -> Seal:
    content = "".join(f"{digests[file]}  {file}\n" for file in sorted(digests))
    write_file(folder / SEAL_FILE, content.encode(), error=AdapterError)
    return Seal(dict(digests), f"{folder.name}/{SEAL_FILE}")
