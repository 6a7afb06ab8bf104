"""CLIP's byte-pair tokenizer as one `tokenizer.json`, from OpenAI's merges or learnt from texts.

Source: the scheme of "Learning Transferable Visual Models" (Radford et al., 2021): lower case,
byte level, `</w>` at word ends, start and end marks last in the vocabulary, so that the end mark
has the highest id (text towers find it by argmax).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.bundler.clip import import_open_clip

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
OPENAI_MERGES = 48894
_MERGES = "bpe_simple_vocab_16e6.txt.gz"
_WORDS = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")

Merge = tuple[str, str]


def clip_tokenizer(merges: Sequence[Merge]) -> Tokenizer:
    """Return CLIP's tokenizer for these merges; ids as in the original for the original merges."""
    letters = _byte_letters()
    tokens = [*letters, *(letter + WORD_END for letter in letters)]
    tokens += [left + right for left, right in merges]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=list(merges), unk_token=END, end_of_word_suffix=WORD_END
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])],
    )
    return tokenizer


def openai_merges(path: Path) -> tuple[Merge, ...]:
    """Return the merges of OpenAI's `bpe_simple_vocab_16e6.txt.gz`.

    Raises:
        TrainingError: The file holds fewer merges than CLIP uses.
    """
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        lines = stream.read(20_000_000).split("\n")[1 : OPENAI_MERGES + 1]
    pairs = tuple((a, b) for a, _, b in (line.partition(" ") for line in lines))
    if len(pairs) != OPENAI_MERGES:
        raise TrainingError(
            f"expected {OPENAI_MERGES} merges in {path.name!r}, got {len(pairs)}: give CLIP's own"
        )
    return pairs


def openai_tokenizer() -> Tokenizer:
    """Return the tokenizer of OpenAI's CLIP, whose merges open_clip brings along."""
    return clip_tokenizer(openai_merges(Path(import_open_clip().__file__ or "").parent / _MERGES))


def learn_merges(texts: Iterable[str], *, count: int) -> tuple[Merge, ...]:
    """Return at most `count` merges that pack `texts` best, most frequent first.

    Ties are broken by the text of the pair, so the same texts give the same merges anywhere.
    """
    words = _word_counts(texts)
    merges: list[Merge] = []
    for _ in range(count):
        pairs: dict[Merge, int] = {}
        for word, number in words.items():
            for pair in pairwise(word):
                pairs[pair] = pairs.get(pair, 0) + number
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = {_merged(word, best): number for word, number in words.items()}
    return tuple(merges)


def _word_counts(texts: Iterable[str]) -> dict[tuple[str, ...], int]:
    splitter = clip_tokenizer(())
    counts: dict[tuple[str, ...], int] = {}
    for text in texts:
        normal = splitter.normalizer.normalize_str(text)
        for piece, _ in splitter.pre_tokenizer.pre_tokenize_str(normal):
            word = (*piece[:-1], piece[-1] + WORD_END)
            counts[word] = counts.get(word, 0) + 1
    return counts


def _merged(word: tuple[str, ...], pair: Merge) -> tuple[str, ...]:
    parts: list[str] = []
    for letter in word:
        if parts and (parts[-1], letter) == pair:
            parts[-1] += letter
        else:
            parts.append(letter)
    return tuple(parts)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _byte_letters() -> list[str]:
    """Return the 256 letters that stand for bytes, printable ones first, as in GPT-2."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
