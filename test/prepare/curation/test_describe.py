"""`semla library describe` on the demo bundle, whose eight domains are known."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from semla_ros.cli import main
from semla_ros.core.errors import BundleError, ConfigError, LibraryError, SemlaError
from semla_ros.library.statistics import DomainStatistics, read_statistics
from semla_ros.navigator.prompts import PromptEmbeddings
from semla_ros.prepare.adapters.seals import reseal_file
from semla_ros.prepare.adapters.write import write_statistics
from semla_ros.prepare.curation.describe import (
    DESCRIPTION,
    DescribeRequest,
    describe_library,
    likenesses,
)

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "models" / "demo"


@pytest.fixture
def demo(tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(DEMO, copy)
    return copy


@dataclass(frozen=True)
class Parrot:
    name: str = "parrot"

    def caption(self, rgb):
        return f"{rgb.shape[1]} wide"


def test_every_demo_domain_is_named_rightly(demo):
    weather = {"clear": "clear", "fog": "foggy", "rain": "rainy", "snow": "snowy"}
    for each in describe_library(DescribeRequest(demo)):
        kind, time = each.name.split("-")
        assert each.words["conditions"] == f"a street on a {weather[kind]} {time}"


def test_words_follow_the_centroid_and_are_written_where_they_are_new(demo):
    request = DescribeRequest(demo, ("fog-day",))
    (one,) = describe_library(request)
    folder = demo / "library" / "fog-day"
    written = (folder / DESCRIPTION).stat()
    assert describe_library(request) == (one,)
    assert (folder / DESCRIPTION).stat().st_ino == written.st_ino
    before = read_statistics(folder, "fog-day")
    other = DomainStatistics(-before.centroid, encoder=before.encoder)
    reseal_file(write_statistics(folder, "fog-day", other))
    (turned,) = describe_library(request)
    assert turned.likenesses[0].prompt == one.likenesses[-1].prompt
    assert json.loads((folder / DESCRIPTION).read_text())["words"] == turned.words


@pytest.mark.parametrize("text", ["", "[]", '{"captions": 1}', "{", '{"captions": [{}]}'])
def test_a_damaged_file_of_words_is_made_anew(demo, text):
    request = DescribeRequest(demo, ("fog-day",))
    (expected,) = describe_library(request)
    path = demo / "library" / "fog-day" / DESCRIPTION
    path.write_text(text)
    assert describe_library(request) == (expected,)
    assert json.loads(path.read_text())["words"] == expected.words


def test_likenesses_are_cosines_nearest_first():
    table = np.eye(3, dtype=np.float32)[:2]
    prompts = PromptEmbeddings("e", "p", ("a", "b"), ("one", "two"), table)
    first, second = likenesses(DomainStatistics(np.array([3, 4, 0], np.float32)), prompts)
    assert (first.prompt, first.cosine) == ("two", pytest.approx(0.8))
    assert (second.prompt, second.cosine) == ("one", pytest.approx(0.6))


def test_captions_are_taken_once_and_kept(demo, pictures):
    request = DescribeRequest(demo, ("fog-day",), captioner=Parrot, images=pictures(20))
    (made,) = describe_library(request)
    assert len(made.captions) == 8
    assert {c.text for c in made.captions} == {"30 wide"}
    (kept,) = describe_library(DescribeRequest(demo, ("fog-day",)))
    assert kept.captions == made.captions


def test_captions_need_one_domain_and_images(demo, tmp_path):
    with pytest.raises(ConfigError, match="--images DIR"):
        describe_library(DescribeRequest(demo, captioner=Parrot, images=tmp_path))
    with pytest.raises(LibraryError, match="found none"):
        describe_library(
            DescribeRequest(demo, ("fog-day",), captioner=Parrot, images=tmp_path / "nowhere")
        )


def test_a_bundle_without_words_says_why_and_what_to_do(bundle, capsys):
    assert main(["library", "describe", str(bundle)]) == 2
    err = capsys.readouterr().err
    assert "brings no words" in err
    assert "--text-model" in err


def test_words_of_another_encoder_are_refused(demo):
    text = (demo / "bundle.yaml").read_text()
    (demo / "bundle.yaml").write_text(text.replace("identity: semla-demo", "identity: other"))
    with pytest.raises(BundleError, match="expected words for the navigator 'other"):
        describe_library(DescribeRequest(demo))


def test_unusable_statistics_cost_one_adapter(demo, capsys):
    (demo / "library" / "fog-day" / "fog-day_statistics.npz").write_bytes(b"torn")
    assert main(["library", "describe", str(demo), "--top", "1"]) == 1
    out = capsys.readouterr().out
    assert "fog-day: no words: " in out
    assert "+0.807  a street on a snowy day (conditions)" in out


@pytest.mark.parametrize(
    "request_for",
    [
        lambda d: DescribeRequest(d, ("mist",)),
        lambda d: DescribeRequest(d, prompts="driving"),
    ],
)
def test_impossible_requests(demo, request_for):
    with pytest.raises(SemlaError):
        describe_library(request_for(demo))


def test_naming_needs_no_torch(demo):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'open_clip', 'transformers']))\n"
        "from semla_ros.cli import main\n"
        f"sys.exit(main(['library', 'describe', {str(demo)!r}, 'fog-day']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "a street on a foggy day" in done.stdout


@pytest.mark.parametrize("missing", ["torch", "open_clip"])
def test_a_text_model_without_its_libraries_names_the_extra(demo, missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from semla_ros.cli import main\n"
        f"sys.exit(main(['library', 'describe', {str(demo)!r}, '--text-model', 'ViT-B-32']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert ".[train]" in done.stderr.splitlines()[-1]


def test_captions_are_shown_and_proposed_where_there_are_none(demo, capsys):
    assert main(["library", "describe", str(demo), "fog-day"]) == 0
    assert "caption: a photo of a street on a foggy day" in capsys.readouterr().out
    (demo / "library" / "fog-day" / "captions.yaml").unlink()
    assert main(["library", "seal", str(demo), "--name", "fog-day", "--replace"]) == 0
    assert main(["library", "describe", str(demo), "fog-day"]) == 0
    proposed = 'semla library caption add BUNDLE fog-day "a photo of a street on a foggy day"'
    assert proposed in capsys.readouterr().out


def test_a_caption_that_is_added_is_sealed_and_can_be_taken_back(demo, capsys):
    sentence = "a photo of a street on a foggy morning"
    assert main(["library", "caption", "add", str(demo), "fog-day", sentence]) == 0
    assert capsys.readouterr().out == "fog-day: 5 captions\n"
    assert main(["library", "verify", str(demo)]) == 0
    assert main(["library", "caption", "add", str(demo), "fog-day", sentence]) == 2
    assert "expected each sentence once" in capsys.readouterr().err
    assert main(["library", "rollback", str(demo), "1"]) == 0
    assert main(["library", "describe", str(demo), "fog-day"]) == 0
    assert "morning" not in capsys.readouterr().out
