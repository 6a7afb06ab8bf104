"""A sealed bundle opens as it was written; anything else is refused by the file's name."""

import contextlib
import copy
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signing import Minisign

from semla_ros import bundle as module
from semla_ros.bundle import (
    MANIFEST,
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    NavigatorSpec,
    SegmentationSpec,
    TextSpec,
    file_sha256,
    manifest_to_dict,
    open_bundle,
)
from semla_ros.core.errors import BundleError, SemlaError
from semla_ros.core.files.signature import read_trusted_keys
from semla_ros.core.types import Vocabulary

FILES = (
    "segmentation.onnx",
    "text_encoder.onnx",
    "navigator.onnx",
    "tokenizer.json",
    "weights.safetensors",
)


def manifest(root: Path) -> Manifest:
    return Manifest(
        name="tiny",
        family="catseg",
        base_model="catseg-tiny:1234",
        segmentation=SegmentationSpec(32),
        text=TextSpec("a photo of a {}", 16),
        navigator=NavigatorSpec("clip", 16, "center_crop", (0.5, 0.4, 0.3), (0.2, 0.2, 0.3), 4),
        vocabulary=Vocabulary(("road", "car"), np.array([[1, 2, 3], [255, 0, 9]], np.uint8)),
        defaults=AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, 0.1, 9.0),
        layers=(GraphWeight("a.b", "a.b.weight", "segmentation", "w0", True, (4, 6)),),
        files={name: file_sha256(root / name) for name in FILES},
    )


def rewrite(root, change):
    data = yaml.safe_load((root / MANIFEST).read_text())
    change(data)
    (root / MANIFEST).write_text(yaml.safe_dump(data))


@pytest.fixture
def sealed(tmp_path):
    root = tmp_path / "bundle"
    root.mkdir()
    for name in FILES:
        (root / name).write_bytes(name.encode() * 9)
    (root / MANIFEST).write_text(yaml.safe_dump(manifest_to_dict(manifest(root))))
    return root


def test_what_was_sealed_is_opened(sealed):
    opened = open_bundle(sealed)
    assert manifest_to_dict(opened.manifest) == manifest_to_dict(manifest(sealed))
    assert opened.manifest.layers == manifest(sealed).layers
    assert opened.manifest.navigator == manifest(sealed).navigator
    assert opened.manifest.vocabulary.names == ("road", "car")
    np.testing.assert_array_equal(opened.manifest.vocabulary.colors[1], [255, 0, 9])


def test_the_paths_lead_to_the_files(sealed):
    opened = open_bundle(sealed)
    paths = [
        opened.segmentation_graph,
        opened.text_graph,
        opened.navigator_graph,
        opened.tokenizer,
        opened.weights,
    ]
    assert [p.name for p in paths] == list(FILES)
    assert all(p.is_file() for p in paths)
    assert opened.library == sealed / "library"


def test_a_bundle_may_have_no_navigator(sealed):
    (sealed / "navigator.onnx").unlink()

    def drop(data):
        data["navigator"] = None
        del data["files"]["navigator.onnx"]

    rewrite(sealed, drop)
    assert open_bundle(sealed).manifest.navigator is None


def test_adapters_are_not_sealed(sealed):
    (sealed / "library" / "fog").mkdir(parents=True)
    assert open_bundle(sealed).manifest.name == "tiny"


@pytest.fixture
def trusted(tmp_path):
    """Return a signer and what a robot that trusts it has read."""
    signer = Minisign()
    return signer, read_trusted_keys(signer.public_file(tmp_path / "fleet.pub"))


def test_a_bundle_by_a_trusted_signer_opens_and_says_whose_it_is(sealed, trusted):
    signer, keys = trusted
    signer.sign(sealed / MANIFEST, comment=b"release 7")
    opened = open_bundle(sealed, trusted=keys)
    assert opened.signer.comment == "release 7"
    assert opened.signer.key.file == "fleet.pub"
    assert open_bundle(sealed).signer is None


def test_a_robot_that_trusts_keys_refuses_an_unsigned_bundle(sealed, trusted):
    with pytest.raises(
        BundleError, match=r"bundle.yaml.minisig: expected a signature.*found none"
    ):
        open_bundle(sealed, trusted=trusted[1])


def test_the_signature_is_asked_for_before_anything_is_parsed(sealed, trusted, monkeypatch):
    signer, keys = trusted
    signer.sign(sealed / MANIFEST)
    rewrite(sealed, lambda data: data.update(name="other"))
    monkeypatch.setattr(module.yaml, "safe_load", lambda _: pytest.fail("parsed"))
    with pytest.raises(BundleError, match="changed after it was signed"):
        open_bundle(sealed, trusted=keys)


def test_one_signature_covers_every_sealed_file(sealed, trusted):
    signer, keys = trusted
    signer.sign(sealed / MANIFEST)
    (sealed / FILES[0]).write_bytes(b"other")
    with pytest.raises(BundleError, match="edited or damaged"):
        open_bundle(sealed, trusted=keys)


def test_a_strangers_signature_counts_for_nothing(sealed, trusted):
    Minisign(b"stranger").sign(sealed / MANIFEST)
    with pytest.raises(BundleError, match="expected a signature by a trusted key"):
        open_bundle(sealed, trusted=trusted[1])


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_named(sealed, name):
    content = bytearray((sealed / name).read_bytes())
    content[3] ^= 1
    (sealed / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"'{name}' was edited or damaged"):
        open_bundle(sealed)
    assert open_bundle(sealed, verify=False).root == sealed


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(sealed, name, verify):
    (sealed / name).unlink()
    with pytest.raises(BundleError, match=f"lacks '{name}'"):
        open_bundle(sealed, verify=verify)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../outside"])
def test_a_path_that_leaves_the_bundle_is_refused(sealed, name):
    (sealed.parent / "outside").write_bytes(b"x")
    rewrite(sealed, lambda data: data["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="points outside"):
        open_bundle(sealed)


def test_a_linked_file_is_taken_for_its_content(sealed):
    """`colcon build --symlink-install` links every file; what counts is the sha256."""
    outside = sealed.parent / "outside"
    (sealed / "tokenizer.json").rename(outside)
    (sealed / "tokenizer.json").symlink_to(outside)
    open_bundle(sealed)
    outside.write_bytes(b"other")
    with pytest.raises(BundleError, match=r"'tokenizer\.json' was edited"):
        open_bundle(sealed)


def test_no_bundle_says_what_to_give(tmp_path):
    with pytest.raises(BundleError, match=r"bundle\.yaml .*found none: give the folder"):
        open_bundle(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "a: b: c", "\x00", "[" * 3000], ids=["open", "colons", "nul", "deep"]
)
def test_a_manifest_that_is_no_yaml_is_refused(sealed, text):
    (sealed / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.yaml is not valid YAML"):
        open_bundle(sealed)


def test_a_manifest_that_is_no_text_is_refused(sealed):
    (sealed / MANIFEST).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BundleError, match=r"bundle\.yaml is not valid YAML"):
        open_bundle(sealed)


@pytest.mark.parametrize("text", ["", "just text", "[1, 2]", "format: 2", "format: null"])
def test_another_format_is_refused(sealed, text):
    (sealed / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="expected format 1, got"):
        open_bundle(sealed)


def test_python_objects_in_a_manifest_are_not_made(sealed):
    (sealed / MANIFEST).write_text("format: !!python/object/apply:os.getcwd []")
    with pytest.raises(BundleError, match="not valid YAML"):
        open_bundle(sealed)


def test_a_huge_manifest_is_refused_unread(sealed, monkeypatch):
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", 10)
    with pytest.raises(BundleError, match="over 10 bytes"):
        open_bundle(sealed)


@pytest.mark.parametrize(
    "key",
    ["name", "base_model", "segmentation", "text", "classes", "defaults", "layers", "files"],
)
@pytest.mark.parametrize("value", ["missing", None, 3, {"odd": 1}])
def test_a_manifest_with_a_hole_is_refused(sealed, key, value):
    def change(data):
        if value == "missing":
            del data[key]
        else:
            data[key] = value

    rewrite(sealed, change)
    if (key, value) == ("text", None):  # a closed class list
        assert open_bundle(sealed).manifest.text is None
        return
    with pytest.raises(BundleError, match=r"bundle\.yaml: missing or malformed entry"):
        open_bundle(sealed)


MALFORMED = {
    "kernel of another product": lambda d: d["layers"][0].update(kernel=[3, 3, 3]),
    "alias of its own name": lambda d: d["layers"][0].update(aliases=[d["layers"][0]["name"]]),
    "unknown activation": lambda d: d["segmentation"].update(activation="relu"),
    "base names of numbers": lambda d: d.update(base_names=[3]),
    "colour above 255": lambda d: d["classes"][0].update(rgb=[300, 0, 0]),
    "colour of two": lambda d: d["classes"][0].update(rgb=[3, 0]),
    "mean of two": lambda d: d["navigator"].update(mean=[0.1, 0.2]),
    "no std": lambda d: d["navigator"].pop("std"),
    "odd navigator": lambda d: d["navigator"].update(odd=1),
    "nan": lambda d: d["defaults"].update(temperature=float("nan")),
    "text": lambda d: d["defaults"].update(support_low="much"),
    "shape of one": lambda d: d["layers"][0].update(shape=[4]),
    "odd layer": lambda d: d["layers"][0].update(odd=1),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_entries_are_refused(sealed, what):
    rewrite(sealed, MALFORMED[what])
    with pytest.raises(BundleError, match=r"bundle\.yaml: missing or malformed entry"):
        open_bundle(sealed)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 999) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_junk_in_a_manifest_escapes_as_another_error(sealed, data):
    content = copy.deepcopy(manifest_to_dict(manifest(sealed)))
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(junk)
    (sealed / MANIFEST).write_text(yaml.safe_dump(content))
    with contextlib.suppress(SemlaError):
        open_bundle(sealed)


def test_the_hash_is_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


def test_guidance_is_kept_and_absent_means_as_base(sealed):
    assert open_bundle(sealed).manifest.adapter_guidance == "as_base"
    rewrite(sealed, lambda data: data.update(adapter_guidance="as_trained"))
    assert open_bundle(sealed).manifest.adapter_guidance == "as_trained"
    rewrite(sealed, lambda data: data.pop("adapter_guidance"))
    assert open_bundle(sealed).manifest.adapter_guidance == "as_base"
    rewrite(sealed, lambda data: data.update(adapter_guidance="as_you_like"))
    with pytest.raises(BundleError, match="as_you_like"):
        open_bundle(sealed)
