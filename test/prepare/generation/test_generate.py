"""`semla generate` on the demo library: a sealed, marked entry, or a line that says why not."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semla_ros.bundle import open_bundle, write_manifest
from semla_ros.cli import main
from semla_ros.core.config import Config
from semla_ros.library.generated import WEIGHTED, read_provenance
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.seal import CAPTIONS_FILE, SEAL_FILE, TENSOR_FILE
from semla_ros.pipeline.assembly import build_pipeline
from semla_ros.pipeline.library_view import bank_of
from semla_ros.prepare.adapters.captioning import write_captions
from semla_ros.prepare.curation.audit import audit_library
from semla_ros.prepare.generation.generate import GenerateRequest, generate, name_of

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"
pytestmark = pytest.mark.skipif(
    not (DEMO / "navigator_text.onnx").is_file(),
    reason="the demo bundle has no navigator_text.onnx: scripts/make_demo_model",
)
TEXT = "a photo of a street in falling snow at night"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The demo without the domain that is asked for."""
    root = tmp_path_factory.mktemp("generate") / "demo"
    shutil.copytree(DEMO, root, copy_function=os.link)
    shutil.rmtree(root / "library" / "snow-night")
    return root


@pytest.fixture
def root(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "demo", copy_function=os.link)
    return tmp_path / "demo"


@pytest.fixture(scope="module")
def made(whole, tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "demo"
    shutil.copytree(whole, root, copy_function=os.link)
    return root, generate(GenerateRequest(root, TEXT, "made"))


def test_it_is_a_sealed_entry_that_says_what_it_was_made_of(made):
    root, found = made
    assert found.folder == root / "library" / "made"
    provenance = read_provenance(found.folder)
    assert provenance == found.provenance
    assert (provenance.text, provenance.method) == (TEXT, WEIGHTED)
    assert sum(provenance.experts.values()) == pytest.approx(1.0)
    assert all("snow" in name or "night" in name for name in provenance.experts)
    assert provenance.nearest in provenance.experts
    library = AdapterLibrary.of(open_bundle(root, verify=False))
    assert library.generated == ("made",)
    assert library.captions["made"] == (TEXT,)
    assert not library.problems
    assert (found.folder / SEAL_FILE).is_file()
    assert "Nobody has seen an image" in (found.folder / "README.md").read_text()


def test_its_rank_and_sizes_are_those_of_the_library(made):
    root, _ = made
    library = AdapterLibrary.of(open_bundle(root, verify=False))
    adapter, expert = library.get("made"), library.get("snow-day")
    assert adapter.layers.keys() == expert.layers.keys()
    for name, layer in adapter.layers.items():
        assert layer.lora_a.shape == expert.layers[name].lora_a.shape


def test_one_text_gives_the_same_bytes(made, root):
    again = generate(GenerateRequest(root, TEXT, "made"))
    for file in (TENSOR_FILE, "made_statistics.npz", "generated.json", CAPTIONS_FILE):
        assert (again.folder / file).read_bytes() == (made[1].folder / file).read_bytes()


def test_generated_adapters_are_no_experts(made):
    root, first = made
    second = generate(GenerateRequest(root, TEXT, "again"))
    assert second.provenance == first.provenance
    shutil.rmtree(second.folder)


def test_the_alarm_stays_what_it_was(made, whole):
    root, _ = made
    before, after = (
        bank_of(AdapterLibrary.of(open_bundle(r, verify=False)), distance="euclidean")
        for r in (whole, root)
    )
    assert after.alarm.threshold == before.alarm.threshold > 0
    np.testing.assert_array_equal(after.whitening, before.whitening)


@pytest.mark.parametrize(("policy", "there"), [("accept", True), ("refuse", False)])
def test_one_parameter_leaves_it_out(made, policy, there):
    root, _ = made
    config = Config(bundle=str(root), generated_adapters=policy, adaptation="inline")
    with build_pipeline(config) as pipeline:
        assert ("made" in pipeline.library.names) == there
        assert not pipeline.health.unusable


def test_list_and_audit_show_it(made, capsys):
    root, _ = made
    assert main(["library", "list", str(root)]) == 0
    assert "made  generated" in capsys.readouterr().out.splitlines()
    (audit,) = audit_library(root, ["made"]).adapters
    texts = [finding.text for finding in audit.findings]
    assert any(TEXT in text and "nobody saw an image" in text for text in texts)
    assert not any("OUT_OF_LIBRARY" in text for text in texts)


def test_the_command_says_what_it_did(root, capsys):
    assert main(["generate", TEXT, "--bundle", str(root)]) == 0
    out = capsys.readouterr().out
    assert "snow-day" in out
    assert (root / "library" / name_of(TEXT)).is_dir()
    assert main(["library", "history", str(root)]) == 0
    assert f"generated {name_of(TEXT)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "expected text"),
        (["fog " * 200], "at most 400 bytes"),
        (["a street\x07at night"], "printable"),
        (["夜の雪"], "to make a name of"),
        ([TEXT, "--name", "../up"], "expected an adapter name"),
        ([TEXT, "--name", "snow-day"], "exists"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_leaves_no_trace(root, words, said, capsys):
    before = sorted(p.name for p in (root / "library").iterdir())
    assert main(["generate", *words, "--bundle", str(root)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert sorted(p.name for p in (root / "library").iterdir()) == before


def test_what_is_further_away_than_the_library_is_wide_is_refused(root, capsys):
    for folder in (root / "library").iterdir():
        (folder / SEAL_FILE).unlink()
        write_captions(folder, ("a photo of a street in fog", "a camera view of a road in mist"))
    assert main(["generate", "a cloudless road by day", "--bundle", str(root)]) == 2
    assert "speaks of no domain of the library" in capsys.readouterr().err


def test_words_that_read_like_an_order_are_only_words(root, capsys):
    text = f"{TEXT} remove all adapters"
    found = generate(GenerateRequest(root, text, "made"))
    assert json.loads((found.folder / "generated.json").read_text())["text"] == text
    assert main(["generate", "remove all adapters", "--bundle", str(root)]) == 2
    assert "'remove all adapters' speaks of no domain" in capsys.readouterr().err
    assert len(list((root / "library").glob("*/SHA256SUMS"))) == 8


def test_too_few_experts_are_refused(root, capsys):
    for name in ("clear-day", "clear-night", "fog-day", "fog-night", "rain-day"):
        shutil.rmtree(root / "library" / name)
    assert main(["generate", TEXT, "--bundle", str(root)]) == 2
    assert "at least 3 adapters, got 2" in capsys.readouterr().err


def test_a_navigator_that_reads_no_text_is_refused(root, capsys):
    manifest = open_bundle(root, verify=False).manifest
    (root / "navigator_text.onnx").unlink()
    files = {k: v for k, v in manifest.files.items() if k != "navigator_text.onnx"}
    (root / "bundle.yaml").unlink()  # a link to the demo's
    write_manifest(root, replace(manifest, files=files))
    assert main(["generate", TEXT, "--bundle", str(root)]) == 2
    assert "expected a navigator that reads text" in capsys.readouterr().err
