"""A small CAT-Seg with OpenAI's vocabulary, its files and adapters as SemLA publishes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fakes import tiny_config
from safetensors.torch import save_file

from semla_ros.network.catseg import CatSeg
from semla_ros.network.checkpoint import create_catseg
from semla_ros.network.config import CatSegConfig
from semla_ros.network.layers import adaptable_layers
from semla_ros.prepare.bundler import onnx_export
from semla_ros.prepare.bundler.clip import import_open_clip

CONFIG = tiny_config(text_layers=1)
DOMAINS = ("fog", "night")
RANK, ALPHA = 4, 8
CENTROID = 768


def network() -> CatSeg:
    return create_catseg(CONFIG, seed=0).eval()


def upstream_state(model: CatSeg) -> dict[str, torch.Tensor]:
    """Return what upstream saves: with the window mask buffer."""
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    state["sem_seg_head.predictor.transformer.layers.0.swin_block.block_2.attn_mask"] = (
        torch.zeros(4, 4, 4)
    )
    return state


def fork_state(model: CatSeg) -> dict[str, torch.Tensor]:
    """Return what SemLA's fork saves: q, k, v under two names, one storage."""
    state = upstream_state(model)
    for key in [k for k in state if k.endswith("_proj_weight")]:
        state[key.removesuffix("_weight") + ".weight"] = state[key]
    return state


def save_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"model": state, "iteration": 3, "scheduler": {"last": np.float64(1.5)}}, path)
    return path


def adapter_tensors(config: CatSegConfig, *, seed: int, live_qkv: bool = False):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in adaptable_layers(config):
        out, inner = layer.shape
        a = torch.randn(RANK, inner, generator=generator) / inner**0.5
        b = torch.randn(out, RANK, generator=generator) * 0.2
        if layer.inert_in_official and not live_qkv:
            b = torch.zeros_like(b)
        tensors[f"base_model.model.{layer.name}.lora_A.weight"] = a
        tensors[f"base_model.model.{layer.name}.lora_B.weight"] = b
    return tensors


def write_domain(
    folder: Path, tensors, *, encoder: str | None = None, dim: int = CENTROID, base=None
) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    targets = sorted({key.split(".lora_")[0].removeprefix("base_model.model.") for key in tensors})
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": targets,
        "auto_mapping": {"base_model_class": "CATSeg", "parent_library": "cat_seg.cat_seg_model"},
        "task_type": None,
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(len(folder.name))
    arrays = {"train_average_embedding": rng.normal(size=(1, dim)).astype(np.float32)}
    if encoder is not None:
        arrays["encoder"] = np.asarray(encoder)
    np.savez(folder / f"{folder.name}_statistics.npz", **arrays)
    return folder


def write_loradb(root: Path) -> Path:
    for seed, domain in enumerate(DOMAINS):
        write_domain(root / domain, adapter_tensors(CONFIG, seed=seed))
    return root


def small_clip(folder: Path, name: str, *, vocab_size: int) -> Any:
    """Return a CLIP of random weights, from now on known to open_clip under `name`."""
    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 64,
            "patch_size": 16,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": vocab_size,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip = import_open_clip()
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    return open_clip.model.CLIP(**config).eval()


@contextmanager
def traced_once() -> Iterator[None]:
    """Trace a network of the same weights, sizes and inputs once: torch takes seconds for it."""
    trace = onnx_export.trace

    def remembered(graph: onnx_export.Graph) -> onnx.ModelProto:
        example = [x for each in graph.example for x in (each if type(each) is list else [each])]
        digest = hashlib.sha256(
            repr((graph.name, graph.inputs, [x.shape for x in example])).encode()
        )
        for module in graph.module.modules():
            plain = {k: v for k, v in vars(module).items() if not k.startswith("_")}
            digest.update(repr((type(module), sorted(plain.items()))).encode())
        for name, tensor in graph.module.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        key = digest.hexdigest()
        if key not in _TRACED:
            _TRACED[key] = trace(graph).SerializeToString()
        return onnx.load_from_string(_TRACED[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "trace", remembered)
        yield


_TRACED: dict[str, bytes] = {}
