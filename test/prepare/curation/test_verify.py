"""`semla library verify`: each kind of damage is named, with the adapter that has it."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from signing import Minisign

from semla_ros.cli import main
from semla_ros.core.errors import BundleError
from semla_ros.library.seal import SEAL_FILE
from semla_ros.library.statistics import DomainStatistics
from semla_ros.prepare.adapters.sealing import seal_domains
from semla_ros.prepare.adapters.seals import write_seal
from semla_ros.prepare.adapters.write import write_statistics
from semla_ros.prepare.curation.verify import verify_library


def tensors_of(bundle, name):
    return bundle / "library" / name / "adapter_model.safetensors"


def spoil_value(bundle):
    tensors = {k: v.copy() for k, v in load_file(tensors_of(bundle, "fog")).items()}
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, tensors_of(bundle, "fog"))


def spoil_shape(bundle):
    tensors = load_file(tensors_of(bundle, "fog"))
    key = next(k for k in tensors if k.endswith("image.fc.lora_A.weight"))
    tensors[key] = np.ascontiguousarray(tensors[key][:, :-1])
    save_file(tensors, tensors_of(bundle, "fog"))


def spoil_header(bundle):
    path = tensors_of(bundle, "fog")
    path.write_bytes(path.read_bytes()[:40])


def spoil_base(bundle):
    path = bundle / "library" / "fog" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "b:2"}))


def spoil_encoder(bundle):
    other = DomainStatistics(np.zeros(3, np.float32), encoder="other")
    write_statistics(bundle / "library" / "fog", "fog", other)


def spoil_length(bundle):
    other = DomainStatistics(np.zeros(9, np.float32), encoder="mean-colour")
    write_statistics(bundle / "library" / "fog", "fog", other)


def remove_statistics(bundle):
    (bundle / "library" / "fog" / "fog_statistics.npz").unlink()


def remove_adapter(bundle):
    tensors_of(bundle, "fog").unlink()
    (bundle / "library" / "fog" / "adapter_config.json").unlink()


def test_a_good_bundle_passes(bundle):
    seal_domains(bundle)
    found = verify_library(bundle)
    assert found.passed
    assert [a.name for a in found.adapters] == ["fog", "night", "rain"]
    assert {a.layers for a in found.adapters} == {2}
    assert found.sealed_files == 5
    assert found.notes == ()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_value, "NaN or infinity"),
        (spoil_shape, "made for another model size"),
        (spoil_header, "damaged or truncated"),
        (spoil_base, "trained on this bundle's base"),
        (spoil_encoder, "generate the statistics with this bundle's navigator"),
        (spoil_length, "length 3, got 9"),
        (remove_statistics, "generate the domain's statistics"),
        (remove_adapter, "semla library add"),
    ],
)
def test_each_damage_is_named(bundle, capsys, spoil, message):
    spoil(bundle)
    assert main(["library", "verify", str(bundle)]) == 1
    failed = [x for x in capsys.readouterr().out.splitlines() if x.startswith("FAILED")]
    assert len(failed) == 1
    assert "FAILED  fog: " in failed[0]
    assert message in failed[0]


def test_two_problems_of_one_adapter_are_both_told(bundle):
    spoil_value(bundle)
    spoil_encoder(bundle)
    (fog, *_) = verify_library(bundle).adapters
    assert len(fog.problems) == 2


def test_an_edited_sealed_file_does_not_hide_the_adapters(bundle, capsys):
    with (bundle / "tokenizer.json").open("ab") as file:
        file.write(b" ")
    spoil_value(bundle)
    assert main(["library", "verify", str(bundle)]) == 1
    out = capsys.readouterr().out
    assert "FAILED  bundle: bundle file 'tokenizer.json' was edited" in out
    assert "FAILED  fog: " in out
    assert "ok      rain: 2 layers, statistics of 10 images" in out


def test_a_missing_sealed_file_is_a_failure_and_no_bundle_an_error(bundle, tmp_path):
    (bundle / "weights.safetensors").unlink()
    found = verify_library(bundle)
    assert not found.passed
    assert "weights.safetensors" in found.bundle_problem
    with pytest.raises(BundleError, match="expected a model bundle"):
        verify_library(tmp_path / "nowhere")


def test_leftovers_are_noted(bundle):
    (bundle / "library" / ".dusk.resume").mkdir()
    (bundle / "library" / ".staging-x").mkdir()
    found = verify_library(bundle)
    assert found.passed
    noted = [note.split()[0] for note in found.notes]
    assert noted == ["unsealed:", ".dusk.resume", ".staging-x"]
    assert "fog, night, rain" in found.notes[0]


def test_without_a_library_folder(bundle):
    shutil.rmtree(bundle / "library")
    with pytest.raises(BundleError, match="make it"):
        verify_library(bundle)


def test_the_signer_of_bundle_and_adapters_is_named(bundle, tmp_path, capsys):
    signer = Minisign()
    public = str(signer.public_file(tmp_path / "fleet.pub"))
    for name in ("fog", "night"):
        write_seal(bundle / "library" / name)
        signer.sign(bundle / "library" / name / SEAL_FILE, comment=b"adapter of June")
    signer.sign(bundle / "bundle.yaml", comment=b"release 7")
    assert main(["library", "verify", str(bundle), "--trusted-keys", public]) == 1
    lines = capsys.readouterr().out.splitlines()
    told = {line.split(":")[0]: line for line in lines}
    assert told["ok      bundle"].endswith("(fleet.pub), 'release 7'")
    assert told["ok      fog"].endswith("(fleet.pub), 'adapter of June'")
    assert any(x.startswith("FAILED  rain: rain/SHA256SUMS: expected a seal") for x in lines)
    assert main(["bundle", "verify", str(bundle), "--trusted-keys", public]) == 0
    assert "signed by" in capsys.readouterr().out
    (bundle / "bundle.yaml.minisig").unlink()
    assert main(["bundle", "verify", str(bundle), "--trusted-keys", public]) == 2
    assert "expected a signature by a trusted key" in capsys.readouterr().err
