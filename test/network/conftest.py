"""A small network, and the parity case: rule-made weights with the official outputs on them.

The checkpoint and the adapters of the parity case are not stored: every tensor follows from its
key, its shape and a seed, by the rule below. `data/` holds the keys and shapes, the official
outputs, and the token ids of the prompts (OpenAI BPE, cropped to the longest prompt).
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("torch"):  # without it test/conftest.py skips this room
    import fakes
    import torch

    from semla_ros.network.catseg import CatSeg
    from semla_ros.network.checkpoint import catseg_from_state, create_catseg

DATA = Path(__file__).parent / "data"

_SCALE_OF_NORMS = re.compile(r"(ln_\w+|norm\d?|guidance_norm|double_conv\.[14])\.weight$")
_EMBEDDINGS = ("positional_embedding", "class_embedding", "token_embedding")
_CLIP_QKV = re.compile(r"clip_model\..*attn\.[qkv]_proj$")


def _noise(name, shape, seed):
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return generator.standard_normal(shape, dtype=np.float32)


def rule_tensor(key, shape):
    """Return the parity checkpoint's tensor under `key`."""
    if key.endswith("logit_scale"):
        return np.float32(4.6052)
    noise = _noise(key, shape, 0)
    if _SCALE_OF_NORMS.search(key):
        return 1 + np.float32(0.1) * noise
    if key.endswith("bias") or "pad" in key:
        return np.float32(0.02) * noise
    if any(part in key for part in _EMBEDDINGS):
        return np.float32(0.05) * noise
    if key.endswith(("text_projection", "visual.proj")):
        return (noise / np.sqrt(shape[0])).astype(np.float32)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    return (noise * 0.8 / np.sqrt(fan_in)).astype(np.float32)


def rule_adapter(module, a_shape, b_shape, index):
    """Return lora_A (r, in) and lora_B (out, r) of adapter number `index` for one module."""
    a = _noise(f"{module}.lora_A", a_shape, 100 + index) / np.float32(np.sqrt(a_shape[1]))
    b = _noise(f"{module}.lora_B", b_shape, 100 + index) * np.float32(0.05)
    return a, np.zeros_like(b) if _CLIP_QKV.search(module) else b


@dataclass(frozen=True)
class ParityCase:
    shapes: dict[str, tuple[int, ...]]
    adapter_shapes: dict[str, tuple[tuple[int, int], tuple[int, int]]]
    expected: dict[str, np.ndarray]
    tokens: torch.Tensor
    model: CatSeg

    def image(self, name):
        return torch.from_numpy(self.expected[name]).permute(2, 0, 1).float()


def load_shapes():
    stored = json.loads((DATA / "catseg_vitb16_keys.json").read_text())
    adapters: dict[str, dict[str, tuple[int, int]]] = {}
    for key, shape in stored["lora"]:
        module, factor = key.removeprefix("base_model.model.").split(".lora_")
        adapters.setdefault(module, {})[factor[0]] = tuple(shape)
    shapes = {key: tuple(shape) for key, shape in stored["state_dict"]}
    return shapes, {module: (pair["A"], pair["B"]) for module, pair in adapters.items()}


@pytest.fixture(scope="session")
def checkpoint_shapes():
    return load_shapes()[0]


@pytest.fixture(scope="session")
def adapter_shapes():
    return load_shapes()[1]


@pytest.fixture(scope="session")
def adapter_rule():
    return rule_adapter


@pytest.fixture(scope="session")
def parity():
    shapes, adapters = load_shapes()
    state = {key: torch.from_numpy(np.array(rule_tensor(key, s))) for key, s in shapes.items()}
    with np.load(DATA / "catseg_vitb16_expected.npz") as stored:
        expected = dict(stored)
    prompts = json.loads((DATA / "cityscapes_tokens.json").read_text())
    return ParityCase(
        shapes, adapters, expected, torch.tensor(prompts["tokens"]), catseg_from_state(state)
    )


@pytest.fixture(scope="session")
def small_config():
    return fakes.small_config(vision_layers=6, taps=(1, 3))


@pytest.fixture
def small_model(small_config):
    return create_catseg(small_config, seed=1).eval()


@pytest.fixture
def tokens():
    """Four prompts of different lengths; 99 ends a text, 0 fills up."""
    return torch.tensor(
        [[98, 5, 99, 0, 0, 0], [98, 5, 6, 99, 0, 0], [98, 7, 8, 9, 10, 99], [98, 3, 4, 5, 99, 0]]
    )
