"""A tokenizer may split a prompt; it may not grow it without end, or end the process."""

import base64
import json

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers

from semla_ros.bundle.tokenizer_file import MAX_PROMPT, encode_prompts, open_tokenizer
from semla_ros.core.errors import BundleError, VocabularyError


@pytest.fixture
def written(tmp_path):
    def write(normalizer=None):
        made = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
        if isinstance(normalizer, normalizers.Normalizer):
            made.normalizer = normalizer
        data = json.loads(made.to_str())
        if isinstance(normalizer, dict):
            data["normalizer"] = normalizer
        (tmp_path / "tokenizer.json").write_text(json.dumps(data))
        return tmp_path / "tokenizer.json"

    return write


def doubling(times):
    return normalizers.Sequence([normalizers.Replace("a", "aa")] * times)


def test_ordinary_normalizers_are_read(written):
    clip = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    for normalizer in (None, doubling(9), normalizers.Sequence(clip), normalizers.NFKC()):
        assert encode_prompts(open_tokenizer(written(normalizer)), ["b"]) == [[1]]


@pytest.mark.parametrize(
    "normalizer",
    [doubling(10), normalizers.Replace("a", "b" * 1001), normalizers.Prepend("b" * 999)],
)
def test_one_that_grows_a_prompt_without_end_is_refused(written, normalizer):
    if isinstance(normalizer, normalizers.Prepend):
        normalizer = normalizers.Sequence([normalizer, normalizers.Replace("a", "aa")])
    with pytest.raises(BundleError, match=r"tokenizer\.json.*1000 characters"):
        open_tokenizer(written(normalizer))


def test_a_table_of_characters_is_read_for_its_longest_text(written):
    def table(longest):
        texts = b"ab\0" + b"c" * longest + b"\0"
        return base64.b64encode((4).to_bytes(4, "little") + bytes(4) + texts).decode()

    with pytest.raises(BundleError, match="may make 2e"):
        open_tokenizer(written({"type": "Precompiled", "precompiled_charsmap": table(2000)}))


def test_panics_of_the_library_are_errors(written):
    data = {"type": "Replace", "pattern": {"String": ""}, "content": "x"}
    with pytest.raises(BundleError, match="a replacement of nothing"):
        open_tokenizer(written(data))
    slow = normalizers.Replace(Regex("(a+)+$"), "x")
    with pytest.raises(VocabularyError, match="cannot read the names"):
        encode_prompts(open_tokenizer(written(slow)), ["a" * 40 + "!"])


def test_long_prompts_and_large_files_are_refused(written, tmp_path):
    with pytest.raises(VocabularyError, match="shorten the name"):
        encode_prompts(open_tokenizer(written()), ["a" * (MAX_PROMPT + 1)])
    (tmp_path / "tokenizer.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BundleError, match="git lfs pull"):
        open_tokenizer(tmp_path / "tokenizer.json")
    with (tmp_path / "tokenizer.json").open("wb") as stream:
        stream.truncate(64_000_001)
    with pytest.raises(BundleError, match="at most 64000000 bytes"):
        open_tokenizer(tmp_path / "tokenizer.json")
