"""Reading and writing adapters: what goes in comes out, everything else is refused by name."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from semla_ros.core.errors import AdapterError
from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.storage import check_name, read_adapter, read_whole_adapter
from semla_ros.prepare.adapters.write import write_adapter

KEY = "base_model.model.head.attn.q.lora_{}.weight"


def edit_tensors(folder, change):
    path = folder / TENSOR_FILE
    tensors = {k: v.copy() for k, v in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def assert_same(a, b):
    assert a.name == b.name
    assert a.base_model == b.base_model
    assert set(a.layers) == set(b.layers)
    for module, layer in a.layers.items():
        other = b.layers[module]
        np.testing.assert_array_equal(layer.lora_a, other.lora_a)
        np.testing.assert_array_equal(layer.lora_b, other.lora_b)
        assert layer.scaling == pytest.approx(other.scaling, rel=1e-12)


def test_what_is_written_is_read(tmp_path, make_adapter):
    folder, adapter = tmp_path / "new" / "library" / "acdc-fog", make_adapter("acdc-fog")
    for _ in range(2):
        write_adapter(folder, adapter, alpha=8.0)
        assert_same(read_adapter(folder), adapter)


def test_an_adapter_may_bear_another_name_than_its_folder(tmp_path, store):
    folder = store(tmp_path)
    assert read_adapter(folder).name == "fog"
    assert read_adapter(folder, name="mist").name == "mist"


def test_files_hold_single_precision_whatever_was_given(tmp_path, make_adapter):
    layers = {
        module: LoraLayer(*(f.astype(np.float64) for f in (x.lora_a, x.lora_b)), x.scaling)
        for module, x in make_adapter().layers.items()
    }
    write_adapter(tmp_path / "fog", LoraAdapter("fog", layers), alpha=8.0)
    tensors = load_file(tmp_path / "fog" / TENSOR_FILE)
    assert {t.dtype for t in tensors.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("rank", [1, 1024])
def test_the_smallest_and_the_largest_rank(tmp_path, store, rank):
    layer = read_adapter(store(tmp_path, rank=rank)).layers["head.attn.q"]
    assert (layer.lora_a.shape, layer.lora_b.shape) == ((rank, 10), (6, rank))


def test_layers_of_different_rank_and_scaling_survive(tmp_path, make_adapter):
    layers = dict(make_adapter(rank=4, scaling=2.0).layers)
    layers["head.attn.q"] = make_adapter(rank=2, scaling=0.7).layers["head.attn.q"]
    adapter = LoraAdapter("mixed", layers, None)
    write_adapter(tmp_path / "mixed", adapter, alpha=8.0)
    config = json.loads((tmp_path / "mixed" / CONFIG_FILE).read_text())
    assert config["rank_pattern"] == {"head.attn.q": 2}
    assert list(config["alpha_pattern"]) == ["head.attn.q"]
    assert_same(read_adapter(tmp_path / "mixed"), adapter)


def test_semla_layout_of_the_tensor_file(tmp_path, store):
    folder = store(tmp_path)
    tensors = load_file(folder / TENSOR_FILE)
    assert tensors[KEY.format("A")].shape == (4, 10)
    assert tensors[KEY.format("B")].shape == (6, 4)
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8.0)
    assert config["base_model_name_or_path"] == "catseg-tiny:1234"
    plain = {"bias": "none", "use_dora": False, "use_rslora": False, "fan_in_fan_out": False}
    assert plain.items() <= config.items(), "PEFT takes what is missing for its default of the day"


def test_nothing_to_write_is_refused(tmp_path):
    with pytest.raises(AdapterError, match="at least one layer"):
        write_adapter(tmp_path / "empty", LoraAdapter("empty", {}), alpha=8.0)


def test_half_precision_becomes_float32(tmp_path, store):
    folder = store(tmp_path)
    path = folder / TENSOR_FILE
    save_file({k: v.astype(np.float16) for k, v in load_file(path).items()}, path)
    layer = read_adapter(folder).layers["head.attn.q"]
    assert layer.lora_a.dtype == np.float32
    assert layer.lora_b.dtype == np.float32


def test_layers_with_an_all_zero_b_are_left_out(tmp_path, store):
    folder = store(tmp_path)
    edit_tensors(folder, lambda t: t[KEY.format("B")].fill(0.0))
    adapter = read_adapter(folder)
    assert "head.attn.q" not in adapter.layers
    assert len(adapter.layers) == 2


def test_rank_stabilised_scaling(tmp_path, store, edit_config):
    folder = store(tmp_path)
    edit_config(folder, use_rslora=True)
    assert read_adapter(folder).layers["head.attn.q"].scaling == pytest.approx(8.0 / 2.0)


@pytest.mark.parametrize("pattern", ["head.attn.q", "attn.q", "q", "^head.attn.q", r"attn\.q"])
def test_alpha_pattern_matches_the_end_of_a_module_name(tmp_path, store, edit_config, pattern):
    folder = store(tmp_path)
    edit_config(folder, alpha_pattern={pattern: 2.0})
    layers = read_adapter(folder).layers
    assert layers["head.attn.q"].scaling == pytest.approx(0.5)
    assert layers["clip.blocks.0.mlp.c_fc"].scaling == pytest.approx(2.0)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model."])
def test_what_surrounds_a_name_is_left_out_of_the_settings_too(
    tmp_path, store, edit_config, prefix
):
    folder = store(tmp_path)
    edit_config(
        folder,
        alpha_pattern={f"{prefix}head.attn.q": 2.0, f"^{prefix}clip.blocks.0.mlp.c_fc": 4.0},
        target_modules=[f"{prefix}head.attn.q"],
    )
    layers = read_adapter(folder).layers
    assert layers["head.attn.q"].scaling == pytest.approx(0.5)
    assert layers["clip.blocks.0.mlp.c_fc"].scaling == pytest.approx(1.0)


@pytest.mark.parametrize("pattern", ["tn.q", "^attn.q", "head.attn"])
def test_alpha_pattern_of_another_module_does_nothing(tmp_path, store, edit_config, pattern):
    folder = store(tmp_path)
    edit_config(folder, alpha_pattern={pattern: 2.0})
    assert read_adapter(folder).layers["head.attn.q"].scaling == pytest.approx(2.0)


VARIANTS = {
    "use_dora": True,
    "lora_bias": True,
    "bias": "all",
    "modules_to_save": ["head"],
    "fan_in_fan_out": True,
    "use_qalora": True,
    "use_bdlora": {"x": 1},
    "kasa_config": {"x": 1},
    "arrow_config": {"x": 1},
    "monteclora_config": {"x": 1},
    "layer_replication": [[0, 1]],
    "alora_invocation_tokens": [1],
    "trainable_token_indices": [1],
    "target_parameters": ["w"],
    "init_lora_weights": "pissa_niter_4",
    "peft_type": "LOHA",
    "use_something_of_tomorrow": True,
    "tomorrow_config": {"x": 1},
}


@pytest.mark.parametrize(("key", "value"), VARIANTS.items())
def test_other_kinds_of_lora_are_refused_by_name(tmp_path, store, edit_config, key, value):
    folder = store(tmp_path)
    edit_config(folder, **{key: value})
    with pytest.raises(AdapterError, match=key) as raised:
        read_adapter(folder)
    assert CONFIG_FILE in str(raised.value)
    assert repr(value) in str(raised.value)


HARMLESS = {
    "eva_config": {"rho": 2.0},
    "corda_config": {"x": 1},
    "init_lora_weights": "gaussian",
    "use_something_of_tomorrow": False,
    "tomorrow_config": None,
    "peft_version": "0.21.2",
    "qalora_group_size": 16,
    "loftq_config": {},
    "lora_dropout": 0.1,
    "target_modules": "all-linear",
    "base_model_name_or_path": "",
}


@pytest.mark.parametrize(("key", "value"), HARMLESS.items())
def test_settings_without_effect_on_the_sum_are_ignored(tmp_path, store, edit_config, key, value):
    folder = store(tmp_path)
    edit_config(folder, **{key: value})
    assert len(read_adapter(folder).layers) == 3


IMPOSSIBLE = {
    "r": 0,
    "lora_alpha": "16",
    "lora_alpha ": True,
    "lora_alpha  ": float("nan"),
    "lora_alpha   ": 1_000_001,
    "rank_pattern": {"q": -1},
    "alpha_pattern": {".*q$": 2},
    "base_model_name_or_path": 3,
}


@pytest.mark.parametrize(("key", "value"), IMPOSSIBLE.items())
def test_impossible_settings_are_refused(tmp_path, store, edit_config, key, value):
    folder = store(tmp_path)
    edit_config(folder, **{key.strip(): value})
    with pytest.raises(AdapterError, match=key.strip()):
        read_adapter(folder)


@pytest.mark.parametrize("alpha", [0, -8, 1_000_000])
def test_any_alpha_within_bounds_is_taken(tmp_path, store, edit_config, alpha):
    folder = store(tmp_path)
    edit_config(folder, lora_alpha=alpha)
    assert read_adapter(folder).layers["head.attn.q"].scaling == alpha / 4


@pytest.mark.parametrize("value", [1025, 10**6, True, "4", 4.0, None])
def test_absurd_ranks_are_refused(tmp_path, store, edit_config, value):
    folder = store(tmp_path)
    edit_config(folder, r=value)
    with pytest.raises(AdapterError, match="expected r from 1 to 1024"):
        read_adapter(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", '{"peft_type": "LORA", "r": NaN}', "[" * 9999]
)
def test_a_broken_config_is_refused(tmp_path, store, text):
    folder = store(tmp_path)
    (folder / CONFIG_FILE).write_text(text)
    with pytest.raises(AdapterError, match=CONFIG_FILE):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("file", "limit"),
    [
        (CONFIG_FILE, "semla_ros.library.adapter_config.MAX_CONFIG_BYTES"),
        (TENSOR_FILE, "semla_ros.library.tensor_file.MAX_TENSOR_BYTES"),
    ],
)
def test_a_file_above_its_limit_is_refused_unread(tmp_path, store, monkeypatch, file, limit):
    folder = store(tmp_path)
    size = (folder / file).stat().st_size
    monkeypatch.setattr(limit, size)
    assert len(read_adapter(folder).layers) == 3
    monkeypatch.setattr(limit, size - 1)
    with pytest.raises(AdapterError, match=f"at most {size - 1} bytes"):
        read_adapter(folder)


@pytest.mark.parametrize("file", [CONFIG_FILE, TENSOR_FILE])
def test_a_missing_file_is_named(tmp_path, store, file):
    folder = store(tmp_path)
    (folder / file).unlink()
    with pytest.raises(AdapterError, match=f"fog/{file}"):
        read_adapter(folder)


@given(share=st.floats(0.0, 0.99))
def test_a_truncated_tensor_file_is_refused(tmp_path_factory, store, share):
    folder = store(tmp_path_factory.mktemp("library"))
    path = folder / TENSOR_FILE
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(AdapterError, match="damaged or truncated"):
        read_adapter(folder)


@pytest.mark.parametrize("length", [0, 1, 10**12, 2**63])
def test_an_absurd_header_is_refused(tmp_path, store, length):
    folder = store(tmp_path)
    path = folder / TENSOR_FILE
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(AdapterError, match="damaged or truncated"):
        read_adapter(folder)


def test_a_file_of_no_tensors_is_whole_and_refused(tmp_path, store):
    folder = store(tmp_path)
    (folder / TENSOR_FILE).write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(AdapterError, match="expected LoRA tensors, got none"):
        read_adapter(folder)


def set_shape(side, shape):
    return lambda t: t.update({KEY.format(side): np.ones(shape, np.float32)})


DAMAGES = {
    "A and B": lambda t: t.pop(KEY.format("A")),
    "NaN or infinity": lambda t: t[KEY.format("B")].__setitem__((0, 0), np.nan),
    "NaN or infinity ": lambda t: t[KEY.format("A")].__setitem__((0, 0), np.inf),
    "expected rank 4": set_shape("A", (3, 10)),
    "expected rank 4 ": set_shape("B", (6, 5)),
    "rank up to 1024": set_shape("A", (2000, 10)),
    "rank, in": set_shape("A", (4, 10, 1)),
    "rank, in ": set_shape("A", (0, 10)),
    "save it as float32": lambda t: t.update({KEY.format("A"): np.ones((4, 10), np.int32)}),
    "only plain LoRA": lambda t: t.update({"base_model.model.head.bias": np.ones(3, np.float32)}),
    "only plain LoRA ": lambda t: t.update(
        {"base_model.model.head.attn.q.lora_magnitude_vector.weight": np.ones(3, np.float32)}
    ),
    "lacks 1 modules": lambda t: [t.pop(KEY.format(side)) for side in "AB"],
    "got none": lambda t: t.clear(),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damaged_tensors_are_refused(tmp_path, store, message):
    folder = store(tmp_path)
    edit_tensors(folder, DAMAGES[message])
    with pytest.raises(AdapterError, match=message.strip()) as raised:
        read_adapter(folder)
    assert f"fog/{TENSOR_FILE}" in str(raised.value)


@pytest.mark.parametrize(
    "name", ["base", "", ".hidden", "a.b", "a/b", "..", "a,b", "a=b", "a\n", "a" * 129]
)
def test_names_that_would_break_something_are_refused(name):
    with pytest.raises(AdapterError, match="adapter name"):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["acdc-fog", "muses_clear-day", "a150", "Nebel-überall", "_x", "a" * 128]
)
def test_names_of_published_libraries_are_allowed(name):
    assert check_name(name) == name


def test_an_interrupted_write_leaves_the_old_file(tmp_path, store, make_adapter, monkeypatch):
    folder = store(tmp_path)
    before = read_adapter(folder)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(AdapterError, match="full"):
        write_adapter(folder, make_adapter(seed=9), alpha=8.0)
    monkeypatch.undo()
    assert_same(read_adapter(folder), before)


def test_arrays_do_not_depend_on_the_file_any_more(tmp_path, store):
    folder = store(tmp_path)
    layer = read_adapter(folder).layers["head.attn.q"]
    before = layer.lora_a.copy()
    (folder / TENSOR_FILE).write_bytes(b"\0" * (folder / TENSOR_FILE).stat().st_size)
    np.testing.assert_array_equal(layer.lora_a, before)
    assert isinstance(layer, LoraLayer)


def test_a_whole_adapter_keeps_its_inert_layers(tmp_path, make_adapter):
    adapter = make_adapter()
    first, *others = adapter.layers
    dead = LoraLayer(
        *(np.zeros_like(getattr(adapter.layers[first], s)) for s in ("lora_a", "lora_b")), 2.0
    )
    write_adapter(tmp_path / "fog", LoraAdapter("fog", {**adapter.layers, first: dead}), alpha=8.0)
    assert set(read_adapter(tmp_path / "fog").layers) == set(others)
    whole = read_whole_adapter(tmp_path / "fog")
    assert set(whole.layers) == set(adapter.layers)
    assert not whole.layers[first].lora_b.any()
