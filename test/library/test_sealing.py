"""`semla library seal`: whoever runs it vouches for what is there."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.library.seal import CONFIG_FILE, SEAL_FILE, TENSOR_FILE, read_seal
from semla_ros.library.statistics import statistics_path
from semla_ros.prepare.adapters.sealing import seal_domains


def damage(folder):
    path = folder / TENSOR_FILE
    path.write_bytes(path.read_bytes()[:-4] + bytes([0, 0, 128, 63]))  # 1.0


def seals(root):
    return {path.parent.name for path in root.glob(f"*/{SEAL_FILE}")}


def test_a_library_is_sealed_once(root, open_library):
    assert seal_domains(root) == ["fog", "night", "rain"]
    assert open_library(root).unsealed == ()
    assert seal_domains(root) == []


def test_a_bundle_is_sealed_by_its_folder(small, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(small, bundle)
    assert set(seal_domains(bundle)) == seals(bundle / "library") != set()


def test_one_domain_by_name_or_by_its_folder(root):
    assert seal_domains(root, ["rain"]) == ["rain"]
    assert seal_domains(root / "fog") == ["fog"]
    assert seals(root) == {"fog", "rain"}


def test_a_seal_that_does_not_hold_is_replaced_by_request_only(root, open_library):
    seal_domains(root)
    damage(root / "fog")
    before = (root / "fog" / SEAL_FILE).read_bytes()
    with pytest.raises(AdapterError, match="expected sha256"):
        seal_domains(root)
    assert (root / "fog" / SEAL_FILE).read_bytes() == before
    assert seal_domains(root, replace=True) == ["fog"]
    assert open_library(root).names == ("fog", "night", "rain")


def test_all_or_nothing(root):
    tensors = {k: v.copy() for k, v in load_file(root / "rain" / TENSOR_FILE).items()}
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, root / "rain" / TENSOR_FILE)
    with pytest.raises(AdapterError, match="NaN"):
        seal_domains(root)
    assert seals(root) == set()


def test_a_failed_replacement_leaves_the_old_seal(root):
    seal_domains(root)
    before = (root / "fog" / SEAL_FILE).read_bytes()
    (root / "fog" / CONFIG_FILE).write_text("{}")
    with pytest.raises(AdapterError, match="peft_type"):
        seal_domains(root, replace=True)
    assert (root / "fog" / SEAL_FILE).read_bytes() == before


def test_a_domain_that_waits_for_its_adapter_can_be_sealed(root):
    for file in (CONFIG_FILE, TENSOR_FILE):
        (root / "fog" / file).unlink()
    assert seal_domains(root, ["fog"]) == ["fog"]
    assert set(read_seal(root / "fog").digests) == {statistics_path(root / "fog", "fog").name}


def test_nothing_to_seal_is_said(root, tmp_path):
    with pytest.raises(LibraryError, match="got \\['mist'\\]"):
        seal_domains(root, ["mist"])
    with pytest.raises(LibraryError, match="expected a bundle, a library or an adapter"):
        seal_domains(tmp_path / "nowhere")
