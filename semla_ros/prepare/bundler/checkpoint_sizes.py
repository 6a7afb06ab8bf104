"""Whether a PyTorch file holds as many bytes as its tensors claim, asked before it is loaded."""

from __future__ import annotations

import zipfile
from mmap import ACCESS_READ, mmap
from pathlib import Path

from semla_ros.prepare.bundler.pickle_calls import RefusedError, Storage
from semla_ros.prepare.bundler.pickle_scan import scan

_MAX_PICKLE_BYTES = 200_000_000
_MAX_MEMBERS = 200_000
_PICKLE = "/data.pkl"
_CODE = "/constants.pkl"
"""Only what `torch.jit.save` writes has it."""
_PICKLES = 5
"""Of files older than PyTorch 1.6: three heads, the tensors, the keys of the storages."""


def check_archive(path: Path) -> None:
    """Check a zip as PyTorch 1.6 and later write it.

    Raises:
        OSError: It cannot be read.
        RefusedError: It asks for what weights do not need.
        ValueError: It is damaged, or claims more than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith(_CODE) for name in archive.namelist()):
                raise RefusedError("a TorchScript archive, which holds code")
            sizes = _sizes(archive, path.stat().st_size)
            pickles = [name for name in sizes if name.endswith(_PICKLE)]
            if len(pickles) != 1 or sizes[pickles[0]] > _MAX_PICKLE_BYTES:
                raise ValueError(f"expected one pickle of its tensors, got {len(pickles)}")
            root = pickles[0].removesuffix(_PICKLE)

            def check(storage: Storage) -> None:
                held = sizes.get(f"{root}/data/{storage.key}", 0)
                _compare(storage, storage.count * storage.itemsize, held)

            with archive.open(pickles[0]) as stream:
                scan(stream, check)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not a whole archive ({error})") from error


def check_old_format(path: Path) -> None:
    """Check a file as PyTorch before 1.6 wrote it: pickles, then the storages one by one.

    Raises:
        OSError: It cannot be read.
        RefusedError: It asks for what weights do not need.
        ValueError: It is damaged, or claims more than it holds.
    """
    size = path.stat().st_size
    seen: set[Storage] = set()
    total = 0

    def check(storage: Storage) -> None:
        nonlocal total
        if storage not in seen:
            seen.add(storage)
            total += storage.count * storage.itemsize
        _compare(storage, total, size)

    # A memory map gives no more than it has, however much the pickle says comes next.
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as stream:
        for _ in range(_PICKLES):
            scan(stream, check)


def _sizes(archive: zipfile.ZipFile, limit: int) -> dict[str, int]:
    """Return name -> bytes of the members, which lie in the file as they are."""
    members = archive.infolist()
    sizes = {info.filename: info.file_size for info in members}
    packed = [m.filename for m in members if m.compress_type or m.file_size != m.compress_size]
    if packed or len(sizes) != len(members) or sum(sizes.values()) > limit:
        raise ValueError(
            f"expected {len(members)} members, stored and each once, in {limit} bytes, got "
            f"{len(sizes)} of {sum(sizes.values())} bytes, packed {packed[:1]!r}"
        )
    if len(sizes) > _MAX_MEMBERS:
        raise ValueError(f"expected at most {_MAX_MEMBERS} members, got {len(sizes)}")
    return sizes


def _compare(storage: Storage, claimed: int, held: int) -> None:
    if claimed > held:
        raise ValueError(f"storage {storage.key!r} claims {claimed} bytes of {held}")
