"""Zip archives of unknown origin: what may be in them is asked for by name, and read in bounds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from semla_ros.core.errors import CaptureError
from semla_ros.core.files.zip_file import ZIP_ERRORS, check_directory

MAX_MEMBERS = 500_000
MAX_MEMBER_BYTES = 200_000_000
MAX_TOTAL_BYTES = 20_000_000_000
MAX_DIRECTORY_BYTES = 40_000_000
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FOREIGN = (*ZIP_ERRORS, ValueError)


def zip_content(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a zip of name -> content; equal files give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return stream.getvalue()


class Archive:
    """Members of a zip by name; nothing is ever unpacked to a disk.

    Attributes:
        path: Of the archive.
        names: Of its files, `/` between folders.
    """

    def __init__(self, path: Path) -> None:
        """Read the list of members.

        Raises:
            CaptureError: It is no zip, or lists more than any labelling does.
        """
        self.path = path
        self._read_bytes = 0
        try:
            with path.open("rb") as stream:
                check_directory(stream, max_bytes=MAX_DIRECTORY_BYTES)
            self._zip = zipfile.ZipFile(path)
        except (OSError, *_FOREIGN) as error:
            raise CaptureError(f"expected a zip, got {str(path)!r}: {error}") from error
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            self.close()
            raise CaptureError(
                f"{str(path)!r}: expected at most {MAX_MEMBERS} files, got {len(members)}"
            )
        files = (m for m in members if m.filename and not m.filename.endswith("/"))
        self._members = {m.filename: m for m in files}
        self.names = tuple(self._members)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def below(self, folder: str, suffix: str) -> dict[str, str]:
        """Return stem -> member of the files below `folder`, wherever that lies in the archive.

        Raises:
            CaptureError: Two files have one stem.
        """
        found: dict[str, str] = {}
        for name in self.names:
            path = PurePosixPath(name)
            if folder not in path.parts[:-1] or path.suffix.lower() != suffix:
                continue
            if path.stem in found:
                raise CaptureError(
                    f"{str(self.path)!r}: {found[path.stem]!r} and {name!r} are for one image: "
                    "keep one of them"
                )
            found[path.stem] = name
        return found

    def named(self, file: str) -> str | None:
        """Return the member whose file name is `file`, None without one."""
        return next((n for n in self.names if PurePosixPath(n).name == file), None)

    def read(self, name: str, *, max_bytes: int = MAX_MEMBER_BYTES) -> bytes:
        """Return the content of a member.

        Raises:
            CaptureError: It is missing, damaged, encrypted, or unpacks to more than it may.
        """
        where = f"{str(self.path)!r}: {name!r}"
        if name not in self._members:
            raise CaptureError(f"{str(self.path)!r}: expected {name!r}, found none")
        member = self._members[name]
        try:
            self._read_bytes += member.file_size
            if member.file_size > max_bytes or self._read_bytes > MAX_TOTAL_BYTES:
                raise CaptureError(
                    f"{where}: expected at most {max_bytes} bytes, {MAX_TOTAL_BYTES} in all, got "
                    f"{member.file_size}: refused"
                )
            with self._zip.open(member) as stream:
                content = stream.read(max_bytes + 1)
        except (OSError, *_FOREIGN) as error:
            raise CaptureError(f"{where} is damaged: {error}") from error
        if len(content) > max_bytes:
            raise CaptureError(f"{where}: expected at most {max_bytes} bytes, got more: refused")
        return content
