"""Centroids on import: whose they are is checked, and written down."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from prepare.bundler import upstream  # noqa: E402

from semla_ros.bundle import GraphWeight, NavigatorSpec  # noqa: E402
from semla_ros.core.errors import LibraryError  # noqa: E402
from semla_ros.library.captions import read_captions  # noqa: E402
from semla_ros.library.compatibility import PUBLISHED_ENCODER  # noqa: E402
from semla_ros.library.seal import CAPTIONS_FILE, read_seal  # noqa: E402
from semla_ros.library.statistics import read_statistics  # noqa: E402
from semla_ros.library.storage import read_adapter  # noqa: E402
from semla_ros.network.layers import adaptable_layers  # noqa: E402
from semla_ros.prepare.adapters.captioning import write_captions  # noqa: E402
from semla_ros.prepare.adapters.seals import write_seal  # noqa: E402
from semla_ros.prepare.bundler.adapter_import import AdapterContract, import_library  # noqa: E402

LAYERS = {
    layer.name: GraphWeight(
        layer.name, layer.parameter, "segmentation", layer.parameter, True, layer.shape
    )
    for layer in adaptable_layers(upstream.CONFIG)
    if not layer.inert_in_official
}


def contract(identity=PUBLISHED_ENCODER, dim=768, qkv=None):
    half = (0.5, 0.5, 0.5)
    spec = NavigatorSpec(identity, 224, "center_crop", half, half, dim)
    return AdapterContract(LAYERS, "catseg:1", spec, qkv)


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "loradb", tmp_path / "target"


def domain(root, name="fog", **options):
    tensors = upstream.adapter_tensors(upstream.CONFIG, seed=1)
    return upstream.write_domain(root / name, tensors, **options)


def test_a_published_centroid_is_taken_and_signed(folders):
    source, target = folders
    given = domain(source)
    assert import_library(source, target, contract()) == {}
    statistics = read_statistics(target / "fog", "fog")
    assert statistics.encoder == PUBLISHED_ENCODER
    np.testing.assert_array_equal(statistics.centroid, read_statistics(given, "fog").centroid)
    one, other = read_adapter(given), read_adapter(target / "fog")
    assert one.layers.keys() == other.layers.keys()
    assert not any("q_proj" in name for name in one.layers), "inert: all zero"


def test_what_is_imported_is_sealed_and_what_its_seal_denies_is_not(folders):
    source, target = folders
    given = domain(source)
    write_captions(given, ("a street in fog",))
    import_library(source, target, contract())
    assert read_captions(target / "fog") == ("a street in fog",)
    (target / "fog" / CAPTIONS_FILE).unlink()
    write_seal(target / "fog")
    files = {"adapter_config.json", "adapter_model.safetensors", "fog_statistics.npz"}
    assert set(read_seal(target / "fog").digests) == files
    write_seal(given)
    config = given / "adapter_config.json"
    config.write_bytes(config.read_bytes() + b" ")
    with pytest.raises(LibraryError, match="expected sha256"):
        import_library(source, target.parent, contract())


@pytest.mark.parametrize(
    ("options", "wanted", "message"),
    [
        ({}, {"identity": "timm/dino"}, r"'timm/dino', got 'openai/clip.*the file names none"),
        ({"encoder": "other"}, {}, r"got 'other'"),
        ({"dim": 512}, {}, "length 768, got 512"),
        ({"base": "catseg:2"}, {}, "'catseg:1', got 'catseg:2'"),
    ],
)
def test_what_does_not_belong_is_refused_by_name(folders, options, wanted, message):
    source, target = folders
    domain(source, **options)
    with pytest.raises(LibraryError, match=f"'fog'.*{message}"):
        import_library(source, target, contract(**wanted))
    assert list(target.iterdir()) == []


def test_a_missing_centroid_is_refused_with_a_navigator_only(folders):
    source, target = folders
    folder = domain(source)
    (folder / "fog_statistics.npz").unlink()
    with pytest.raises(LibraryError, match="generate the domain's statistics"):
        import_library(source, target, contract())
    plain = AdapterContract(LAYERS, "catseg:1", None, None)
    assert import_library(source, target, plain) == {}


def test_one_bad_adapter_among_good_ones(folders):
    source, target = folders
    domain(source, "night")
    domain(source, "fog", dim=3)
    with pytest.raises(LibraryError, match=r"1 of 2 .*--skip-unusable.*'fog'"):
        import_library(source, target, contract())
    for folder in target.iterdir():
        folder.rename(folder.with_name(f".old-{folder.name}"))
    problems = import_library(source, target, contract(), skip_unusable=True)
    assert set(problems) == {"fog"}
    assert (target / "night").is_dir()
    assert not (target / "fog").exists()


def test_all_bad_is_refused_even_so(folders):
    source, target = folders
    domain(source, dim=3)
    with pytest.raises(LibraryError, match="1 of 1"):
        import_library(source, target, contract(), skip_unusable=True)


def test_a_folder_without_adapters_says_what_to_give(folders):
    source, target = folders
    (source / "loradb" / "fog").mkdir(parents=True)
    with pytest.raises(LibraryError, match="give SemLA's loradb"):
        import_library(source, target, contract())
