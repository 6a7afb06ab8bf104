"""`tokenizer.json`: a program on texts, so that what it may do to one is bounded first."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from semla_ros.core.errors import BundleError, SemlaError, VocabularyError
from semla_ros.core.files.lfs_pointer import lfs_remedy
from semla_ros.core.files.structured_text import from_json

MAX_TOKENIZER_BYTES = 64_000_000
MAX_PROMPT = 10_000
MAX_GROWTH = 1000
"""Most characters that the normalizer may make of one."""
_GROWTH = {"NFC": 3, "NFD": 4, "NFKC": 18, "NFKD": 18, "Lowercase": 3, "ByteLevel": 4}
_MOST = 18
_PANIC = "PanicException"


def open_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer in `path`, without truncation and padding.

    Raises:
        BundleError: Missing, no tokenizer, or one that lets a text grow beyond bounds.
    """
    if not path.is_file():
        raise BundleError(f"expected {path.name!r} in {str(path.parent)!r}, found none: rebuild")
    try:
        content = _content(path)
        _check_growth(from_json(content), path.name)
        tokenizer = Tokenizer.from_str(content.decode("utf-8-sig"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except BundleError:
        raise
    except BaseException as error:  # the library raises nothing narrower, and panics
        raise _foreign(error, BundleError, f"{path.name} is not a tokenizer") from error
    return tokenizer


def encode_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each prompt.

    Raises:
        VocabularyError: A prompt is too long, or the tokenizer cannot read it.
    """
    for prompt in prompts:
        if len(prompt) > MAX_PROMPT:
            raise VocabularyError(
                f"expected prompts of at most {MAX_PROMPT} characters, got {len(prompt)} in "
                f"{prompt[:40]!r}…: shorten the name"
            )
    try:
        return [each.ids for each in tokenizer.encode_batch(list(prompts))]
    except BaseException as error:
        raise _foreign(error, VocabularyError, "the tokenizer cannot read the names") from error


def _foreign(error: BaseException, kind: type[SemlaError], what: str) -> SemlaError:
    """Return the error of what the library raised; an interruption is passed on."""
    if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
        raise error
    return kind(f"{what}: {' '.join(str(error).split())[:300]}: rebuild the bundle")


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_TOKENIZER_BYTES:
        raise BundleError(
            f"{path.name}: expected at most {MAX_TOKENIZER_BYTES} bytes, got {size}: rebuild"
        )
    content = path.read_bytes()
    if remedy := lfs_remedy(content):
        raise BundleError(f"{path.name}: {remedy}")
    return content


def _check_growth(data: Any, name: str) -> None:  # noqa: ANN401  any JSON value
    normalizer = data.get("normalizer")
    growth = _growth(normalizer) if normalizer else 1
    if growth > MAX_GROWTH:
        raise BundleError(
            f"{name}: expected a normalizer that makes at most {MAX_GROWTH} characters of one, "
            f"got one that may make {growth:.3g}: rebuild the bundle"
        )


def _growth(normalizer: Mapping[str, Any]) -> float:
    """Return how many characters at most become of one."""
    kind = normalizer["type"]
    if kind == "Sequence":
        return math.prod(float(_growth(each)) for each in normalizer["normalizers"])
    if kind == "Replace":
        pattern = normalizer["pattern"]
        if not all(pattern.values()):
            raise ValueError("a replacement of nothing")
        return max(1, len(normalizer["content"]))
    if kind == "Prepend":
        return 1 + len(normalizer["prepend"])
    if kind == "Precompiled":
        return max(_MOST, _longest(normalizer["precompiled_charsmap"] or ""))
    return _GROWTH.get(kind, _MOST)


def _longest(charsmap: str) -> int:
    """Return the longest text that a compiled table of characters puts in place of one.

    Source: SentencePiece's `Normalizer::DecodePrecompiledCharsMap`: the size of a trie, the trie,
    then the texts, each ended by a zero.
    """
    table = base64.b64decode(charsmap)
    texts = table[4 + int.from_bytes(table[:4], "little") :].split(b"\0")
    return max(map(len, texts))
