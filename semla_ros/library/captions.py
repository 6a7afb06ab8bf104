"""`<domain>/captions.yaml`: what a domain's images show, in several sentences.

They are compared with other texts, never with images: texts and images lie in different cones of
CLIP's space.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.checks import items, text
from semla_ros.core.files.structured_text import from_yaml
from semla_ros.library.seal import CAPTIONS_FILE, read_seal, read_sealed

if TYPE_CHECKING:
    from semla_ros.core.files.signature import TrustedKeys

MAX_CAPTIONS, MAX_CAPTION_BYTES = 32, 400
MAX_CAPTIONS_FILE_BYTES = 4 * MAX_CAPTIONS * MAX_CAPTION_BYTES


def read_captions(folder: Path, *, trusted: TrustedKeys | None = None) -> tuple[str, ...]:
    """Return the captions of the domain in `folder`, none where there is no file.

    Args:
        folder: Of the adapter.
        trusted: Keys of which one must have signed the seal; None: signatures are not asked for.

    Raises:
        AdapterError: Damaged, too long, or not what was sealed.
    """
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        return ()
    where = f"{folder.name}/{CAPTIONS_FILE}"
    content = read_sealed(
        path, read_seal(folder, trusted=trusted), max_bytes=MAX_CAPTIONS_FILE_BYTES
    )
    try:
        return checked_captions(from_yaml(content))
    except ValueError as error:
        raise AdapterError(f"{where}: {error}: write it as a YAML list of sentences") from error


def checked_captions(captions: object) -> tuple[str, ...]:
    """Return `captions` if they are distinct sentences of one line each.

    Raises:
        ValueError: No list of 1 to `MAX_CAPTIONS`, or one is empty, long, repeated or unprintable.
    """
    _CHECK(captions, "captions")
    found = tuple(map(str, captions))  # type: ignore[call-overload]
    if len(set(found)) < len(found):
        raise ValueError("captions: expected each sentence once, got one twice")
    return found


def captions_content(captions: Sequence[str]) -> bytes:
    """Return what `captions.yaml` holds for `captions`.

    Raises:
        ValueError: As `checked_captions`.
    """
    content: str = yaml.safe_dump(
        list(checked_captions(list(captions))), allow_unicode=True, width=MAX_CAPTION_BYTES * 2
    )
    return content.encode()


def _sentence(value: object, path: str) -> None:
    text(value, path, max_bytes=MAX_CAPTION_BYTES)


_CHECK = items(_sentence, 1, MAX_CAPTIONS)
