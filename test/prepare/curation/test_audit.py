"""`semla library audit`: what it counts, what it warns of, and its JSON."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from semla_ros.cli import main
from semla_ros.core.errors import LibraryError
from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.library.statistics import DomainStatistics, read_statistics
from semla_ros.library.storage import read_whole_adapter
from semla_ros.prepare.adapters.write import write_adapter, write_statistics
from semla_ros.prepare.curation.audit import audit_library
from semla_ros.prepare.curation.audit_report import audit_dict
from semla_ros.prepare.curation.findings import centroid_findings
from semla_ros.prepare.curation.hazards import hazards_of
from semla_ros.prepare.curation.licence import stated_licence

INERT = "sem_seg_head.predictor.clip_model.visual.transformer.resblocks.0.attn.q_proj"


def add_domain(bundle, name, seed, *, factor=1.0, centroid=None, inert=False):
    """An adapter like fog's with numbers of its own, far from the others' centroids."""
    rng = np.random.default_rng(seed)
    fog = read_whole_adapter(bundle / "library" / "fog")
    layers = {
        m: LoraLayer(
            rng.normal(size=x.lora_a.shape).astype(np.float32),
            (factor * rng.normal(size=x.lora_b.shape)).astype(np.float32),
            x.scaling,
        )
        for m, x in fog.layers.items()
    }
    if inert:
        a = np.random.default_rng(7).normal(size=(2, 6)).astype(np.float32)
        layers[INERT] = LoraLayer(a, np.zeros((6, 2), np.float32), 2.0)
    folder = bundle / "library" / name
    write_adapter(folder, LoraAdapter(name, layers, fog.base_model), alpha=4.0)
    place = np.full(3, 10.0 + seed) if centroid is None else np.asarray(centroid)
    write_statistics(folder, name, DomainStatistics(place, count=9, encoder="mean-colour"))


def findings(audit, name):
    adapter = next(a for a in audit.adapters if a.name == name)
    return [f.text for f in adapter.findings if f.attention]


def test_a_plain_library_needs_nothing(bundle, capsys, tmp_path):
    assert main(["library", "audit", str(bundle), "--json", str(tmp_path / "a.json")]) == 0
    out = capsys.readouterr().out
    assert "attention needed: nothing" in out
    assert "all: licence not stated" in out
    data = json.loads((tmp_path / "a.json").read_text())
    assert data == audit_dict(audit_library(bundle))
    assert data["clean"]
    assert [a["name"] for a in data["adapters"]] == ["fog", "night", "rain"]
    np.testing.assert_allclose(np.diag(data["cosines"]["matrix"]), 1)


def test_the_ratio_is_that_of_dense_matrices(bundle):
    facts = audit_library(bundle, ["fog"]).adapters[0].facts
    layer = read_whole_adapter(bundle / "library" / "fog").layers["image.fc"]
    delta = layer.scaling * layer.lora_b @ layer.lora_a
    from safetensors.numpy import load_file

    base = load_file(bundle / "weights.safetensors")["image.fc.weight"]
    expected = np.linalg.norm(delta) / np.linalg.norm(base)
    assert facts.groups["other"].ratio == pytest.approx(expected, rel=1e-5)


def test_inert_tensors_are_counted_and_their_start_told(bundle):
    add_domain(bundle, "dusk", 1, inert=True)
    add_domain(bundle, "dawn", 2, inert=True)
    audit = audit_library(bundle, ["dawn", "dusk"])
    one, other = (a.facts for a in audit.adapters)
    assert (one.inert_tensors, one.tensors, one.inert_qkv) == (2, 6, 1)
    assert one.inert_parameters == 24
    assert one.fingerprint == other.fingerprint is not None
    notes = [f for a in audit.adapters for f in a.findings if "inert" in f.text]
    assert [f.attention for f in notes] == [False, False]
    starts = [f.text for a in audit.adapters for f in a.findings if "random start" in f.text]
    assert starts == ["the same random start as dusk", "the same random start as dawn"]


def test_an_outlier_among_enough_adapters_is_named(bundle):
    for seed, name in enumerate(("a", "b", "c", "d")):
        add_domain(bundle, name, seed)
    add_domain(bundle, "wild", 9, factor=100.0)
    audit = audit_library(bundle)
    assert any("robust z +" in text for text in findings(audit, "wild"))
    assert not findings(audit, "a")


def test_the_same_file_and_nearly_the_same_change_are_told(bundle, capsys):
    library = bundle / "library"
    shutil.copytree(library / "fog", library / "mist")
    (library / "mist" / "fog_statistics.npz").unlink()
    place = DomainStatistics(np.full(3, 50.0), count=9, encoder="mean-colour")
    write_statistics(library / "mist", "mist", place)
    fog = read_whole_adapter(library / "fog")
    near = {m: replace(x, lora_b=x.lora_b + np.float32(1e-3)) for m, x in fog.layers.items()}
    write_adapter(library / "haze", LoraAdapter("haze", near, fog.base_model), alpha=4.0)
    write_statistics(library / "haze", "haze", replace(place, centroid=np.full(3, -50.0)))
    audit = audit_library(bundle)
    assert any("the same file as 'mist'" in text for text in findings(audit, "fog"))
    assert any("nearly the same change" in text for text in findings(audit, "haze"))
    assert not findings(audit, "rain")
    assert main(["library", "audit", str(bundle)]) == 1
    assert "! haze: nearly the same change" in capsys.readouterr().out


def test_an_adapter_that_changes_nothing_is_told(bundle):
    fog = read_whole_adapter(bundle / "library" / "fog")
    dead = {m: replace(x, lora_b=np.zeros_like(x.lora_b)) for m, x in fog.layers.items()}
    write_adapter(bundle / "library" / "fog", LoraAdapter("fog", dead, "small:1"), alpha=4.0)
    assert any("changes nothing" in text for text in findings(audit_library(bundle), "fog"))


def test_unusable_adapters_are_audited_as_far_as_they_go(bundle):
    library = bundle / "library"
    (library / "fog" / "adapter_model.safetensors").write_bytes(b"broken")
    write_statistics(library / "rain", "rain", DomainStatistics(np.zeros(5, np.float32)))
    audit = audit_library(bundle)
    fog, night, rain = audit.adapters
    assert fog.facts is None
    assert fog.sha256 is not None
    assert any("damaged" in text for text in findings(audit, "fog"))
    assert rain.facts is not None
    assert any("length 3, got 5" in text for text in findings(audit, "rain"))
    assert not [f for f in night.findings if f.attention]
    assert audit.compared == ("night", "rain")


def test_an_adapter_for_another_model_size_spoils_no_comparison(bundle):
    fog = read_whole_adapter(bundle / "library" / "fog")
    wide = {m: replace(x, lora_a=np.ones((2, 99), np.float32)) for m, x in fog.layers.items()}
    write_adapter(bundle / "library" / "fog", LoraAdapter("fog", wide, "small:1"), alpha=4.0)
    audit = audit_library(bundle)
    assert any("another model size" in text for text in findings(audit, "fog"))
    assert audit.compared == ("night", "rain")


def test_the_idd_adapter_is_a_hazard_where_there_are_people(bundle):
    (bundle / "library" / "rain").rename(bundle / "library" / "idd")
    statistics = read_statistics(bundle / "library" / "idd", "rain")
    write_statistics(bundle / "library" / "idd", "idd", statistics)
    assert not findings(audit_library(bundle), "idd")
    assert main(["library", "audit", str(bundle), "--classes", "cityscapes"]) == 1
    path = bundle / "bundle.yaml"
    manifest = yaml.safe_load(path.read_text())
    manifest["classes"][1]["name"] = "Person, human"
    path.write_text(yaml.safe_dump(manifest))
    (text,) = findings(audit_library(bundle), "idd")
    assert "'Person, human'" in text
    assert "'animal'" in text


@pytest.mark.parametrize(
    ("name", "classes", "hits"),
    [
        ("idd", ("road", "person"), 1),
        ("IDD-v2", ("pedestrian", "person"), 2),
        ("iddle", ("person",), 0),
        ("acdc-fog", ("person",), 0),
        ("idd", ("road", "personnel"), 0),
    ],
)
def test_hazards_by_name_and_class(name, classes, hits):
    assert len(hazards_of(name, classes)) == hits


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"adapter_config.json": '{"license": "cc-by-4.0"}'}, "cc-by-4.0"),
        ({"adapter_config.json": "[]", "LICENSE": "\n  MIT License\nmore"}, "MIT License"),
        ({"README.md": "---\nlicense: apache-2.0\n---\n# x"}, "apache-2.0"),
        ({"README.md": "# x\n---\nlicense: no\n---\n"}, None),
        ({"README.md": "---\n{[\n---\n", "adapter_config.json": "{"}, None),
        ({"LICENSE": "x" * 500}, "x" * 80),
    ],
)
def test_licences(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert stated_licence(tmp_path) == expected


def test_a_licence_travels_with_the_adapter(bundle):
    source = bundle / "library" / "fog"
    (source / "LICENSE").write_text("MIT License")
    assert main(["library", "add", str(bundle), str(source), "--name", "fog2"]) == 0
    assert audit_library(bundle, ["fog2"]).adapters[0].licence == "MIT License"


def test_centroids_are_one_within_their_standard_error():
    def domain(offset, count, encoder="e"):
        return DomainStatistics(
            np.array([offset, 0, 0], np.float32), count, np.eye(3) * 4, encoder
        )

    # standard error of the difference: sqrt(2 * 12 / 100) = 0.49
    near = {"a": domain(0.0, 100), "b": domain(0.9, 100)}
    assert [name for name, _ in centroid_findings(near)] == ["a", "b"]
    assert not list(centroid_findings({"a": domain(0.0, 100), "b": domain(1.1, 100)}))
    assert not list(centroid_findings({"a": domain(0.0, 9), "b": domain(0.0, 9, "other")}))


def test_unknown_names_are_refused(bundle):
    with pytest.raises(LibraryError, match=r"\['mist'\]"):
        audit_library(bundle, ["mist"])
