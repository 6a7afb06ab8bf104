"""CLIP's tokenizer: the original for the original merges, and lawful for learnt ones."""

import gzip
import importlib.util
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.bundler.tokenizer import (
    END,
    START,
    clip_tokenizer,
    learn_merges,
    openai_merges,
)

TEXTS = (
    "A photo of a traffic light in the scene",
    "It's 42 naïve   café's!! 3rd",
    "zebra-crossing & co, 日本語",
    "PERSON, rider\tand\nbicycle",
)


@pytest.fixture(scope="module")
def open_clip():
    pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("needs open_clip_torch: scripts/setup --dev")
    from semla_ros.prepare.bundler.clip import import_open_clip

    return import_open_clip()


def test_openai_merges_give_the_ids_of_open_clip(open_clip):
    merges = openai_merges(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz")
    ours, theirs = clip_tokenizer(merges), open_clip.get_tokenizer("ViT-B-16")
    assert ours.get_vocab_size() == 49408
    for text in TEXTS:
        padded = theirs([text])[0].tolist()
        assert ours.encode(text).ids == padded[: padded.index(49407) + 1]


def test_the_end_mark_has_the_highest_id():
    tokenizer = clip_tokenizer(learn_merges(["a car and a tree"], count=5))
    ids = tokenizer.encode("any text at all").ids
    assert ids[0] == tokenizer.token_to_id(START)
    assert ids[-1] == tokenizer.token_to_id(END) == tokenizer.get_vocab_size() - 1
    assert max(ids[:-1]) < ids[-1]


def test_learnt_merges_shorten_their_own_texts_and_repeat_exactly():
    texts = ["a foggy street with cars", "a foggy night"] * 3
    merges = learn_merges(texts, count=30)
    assert merges == learn_merges(texts, count=30)
    plain, packed = clip_tokenizer(()), clip_tokenizer(merges)
    assert len(packed.encode("foggy").ids) == 3 < len(plain.encode("foggy").ids)


def test_any_text_has_tokens_and_survives_saving():
    tokenizer = clip_tokenizer(())
    reopened = Tokenizer.from_str(tokenizer.to_str())
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert ids == reopened.encode(text).ids
        assert ids.count(ids[-1]) == 1, "an unknown letter was read as the end mark"


def test_merges_of_another_file_are_refused(tmp_path):
    path = tmp_path / "short.txt.gz"
    with gzip.open(path, "wt") as stream:
        stream.write("#version\na b\nc d\n")
    with pytest.raises(TrainingError, match="expected 48894 merges"):
        openai_merges(path)
