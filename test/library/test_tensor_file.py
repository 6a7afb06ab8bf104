"""Adapters in other clothes: the same numbers, or one line that says what they are."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from semla_ros.core.errors import AdapterError
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.storage import inspect_adapter, read_adapter
from semla_ros.library.tensor_file import factor_name

PLAIN = "base_model.model.head.attn.q.lora_A.weight"


@pytest.mark.parametrize(
    "key",
    [
        PLAIN,
        "head.attn.q.lora_A.weight",
        "base_model.model.head.attn.q.lora_A.default.weight",
        "base_model.model.head.attn.q.lora_A.fog_day.weight",
        "base_model.model._orig_mod.head.attn.q.lora_A.weight",
        "_orig_mod.base_model.model.head.attn.q.lora_A.default.weight",
        "base_model.model.head._orig_mod.attn.q.lora_A.weight",
        "module.base_model.model.head.attn.q.lora_A.weight",
    ],
)
def test_what_training_puts_around_a_name_is_left_out(key):
    assert factor_name(key) == ("head.attn.q", "A")


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.head.attn.q.lora_embedding_A.weight",
        "base_model.model.head.attn.q.lora_magnitude_vector.weight",
        "base_model.model.head.attn.q.base_layer.weight",
        "lora_te_head_attn_q.lora_down.weight",
        ".lora_A.weight",
    ],
)
def test_what_is_no_factor_has_no_name(key):
    assert factor_name(key) is None


@pytest.fixture
def folder(tmp_path, store):
    return store(tmp_path, "fog")


def renamed(folder, change):
    tensors = {change(k): v for k, v in load_file(folder / TENSOR_FILE).items()}
    save_file(tensors, folder / TENSOR_FILE)


@pytest.mark.parametrize(
    "change",
    [
        lambda k: k.removeprefix("base_model.model."),
        lambda k: k.replace(".weight", ".default.weight"),
        lambda k: k.replace("base_model.model.", "base_model.model._orig_mod."),
    ],
)
@pytest.mark.parametrize("read", [read_adapter, inspect_adapter])
def test_other_names_load_the_same_adapter(folder, change, read):
    plain = read(folder)
    renamed(folder, change)
    other = read(folder)
    assert other.layers.keys() == plain.layers.keys()
    for name, layer in plain.layers.items():
        np.testing.assert_array_equal(other.layers[name].lora_a, layer.lora_a)
        np.testing.assert_array_equal(other.layers[name].lora_b, layer.lora_b)
        assert other.layers[name].lora_b.flags == layer.lora_b.flags


def test_bfloat16_is_widened_exactly(folder):
    plain, header, data = read_adapter(folder), {}, b""
    for key, value in load_file(folder / TENSOR_FILE).items():
        half = (value.view(np.uint32) >> 16).astype("<u2").tobytes()
        place = [len(data), len(data) + len(half)]
        header[key] = {"dtype": "BF16", "shape": value.shape, "data_offsets": place}
        data += half
    head = json.dumps(header).encode()
    (folder / TENSOR_FILE).write_bytes(len(head).to_bytes(8, "little") + head + data)
    for name, layer in read_adapter(folder).layers.items():
        truncated = (plain.layers[name].lora_a.view(np.uint32) >> 16 << 16).view(np.float32)
        np.testing.assert_array_equal(layer.lora_a, truncated)
    assert inspect_adapter(folder).layers.keys() == plain.layers.keys()


def test_two_adapters_in_one_file_are_refused(folder):
    tensors = load_file(folder / TENSOR_FILE)
    twice = {k.replace(".weight", f".{n}.weight"): v for n in "ab" for k, v in tensors.items()}
    save_file(twice, folder / TENSOR_FILE)
    with pytest.raises(AdapterError, match=r"twice.*save one adapter alone"):
        read_adapter(folder)


@pytest.mark.parametrize(
    "key",
    [
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
        "lora_unet_down_blocks_0.lora_up.weight",
        "unet.down_blocks.0.attn.processor.to_q_lora.lora.down.weight",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",
    ],
)
def test_kohya_s_and_diffusers_names_are_told_as_what_they_are(folder, key):
    save_file({key: np.zeros((4, 8), np.float32)}, folder / TENSOR_FILE)
    with pytest.raises(AdapterError, match=r"kohya's or diffusers' format.*save_pretrained"):
        read_adapter(folder)


def test_a_git_lfs_pointer_is_named(folder):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (folder / TENSOR_FILE).write_bytes(pointer)
    for read in (read_adapter, inspect_adapter):
        with pytest.raises(AdapterError, match="git lfs pull"):
            read(folder)


def test_a_pickle_is_never_loaded_and_a_named_folder_is_pointed_at(folder):
    (folder / TENSOR_FILE).rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model.bin is a pickle, .*semla library add"):
        read_adapter(folder)
    (folder / "adapter_model.bin").unlink()
    (folder / "default").mkdir()
    (folder / CONFIG_FILE).rename(folder / "default" / CONFIG_FILE)
    with pytest.raises(AdapterError, match="lies in its folder 'default'"):
        read_adapter(folder)
