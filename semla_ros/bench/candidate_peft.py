"""PEFT: as SemLA uses it and merged, on the torch network; and its merge of layers alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from semla_ros.bench.candidates import Candidate, Material
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.core.types import BASE, AdapterMix, Float32Array, LoraAdapter, UInt8Array
from semla_ros.core.weights import WeightSource, array_of
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.text import TextEncoder


class PeftUnmerged(Candidate):
    """`add_weighted_adapter(combination_type="cat")`, `set_adapter`, `delete_adapter`.

    The forward pass computes W x + B (A x) in every adapted layer, as SemLA's does. PEFT changes
    the model in place, so frames have to wait for all of it.
    """

    name: ClassVar[str] = "PEFT as SemLA uses it: cat, set, delete"
    runtime = "torch"
    aside = False

    def __init__(self, material: Material) -> None:
        """Wrap the network and load every adapter.

        Raises:
            EngineUnavailableError: torch or PEFT is missing, or the adapters differ in rank.
        """
        self._torch, peft = torch_and_peft()
        self._torch.set_num_threads(cpu_threads(material.threads))
        self._input = InputBuffer(material.bundle.manifest.segmentation.shape)
        tokens = TextEncoder(material.bundle).tokens(material.bundle.manifest.vocabulary)
        self._tokens = self._torch.tensor(tokens)
        self._model = _wrapped(peft, _network(material), material.adapters.values())
        self._features: Any = None
        self._wanted = AdapterMix.base_only()
        self._serving = ""
        self._count = 0

    def prepare(self, mix: AdapterMix) -> None:
        """Remember the mix: nothing can be done aside."""
        self._wanted = mix

    def commit(self) -> None:
        """Make the weighted adapter, activate it, delete the one before, encode the classes."""
        names = [name for name in self._wanted.names if name != BASE]
        weights = [self._wanted.weight(name) for name in names]
        self._leave()
        self._count += 1
        fresh, before = f"mix_{self._count}", self._serving
        self._model.add_weighted_adapter(names, weights, fresh, combination_type="cat")
        self._model.set_adapter(fresh)
        self._enter()
        if before:
            self._model.delete_adapter(before)
        self._serving = fresh
        with self._torch.inference_mode():
            self._features = self._model.base_model.model.encode_text(self._tokens)

    def logits(self, rgb: UInt8Array) -> Float32Array:
        """Return logits (T, h, w)."""
        self._input.load(rgb)
        image = self._torch.from_numpy(self._input.tensor)
        with self._torch.inference_mode():
            out = self._model.base_model.model(image, self._features)
        return np.array(out[0].numpy(), np.float32)

    def _leave(self) -> None:
        """Do what must be done before the adapters change."""

    def _enter(self) -> None:
        """Do what must be done once the new adapter is active."""


class PeftMerged(PeftUnmerged):
    """The same with `merge_adapter`, and `unmerge_adapter` before the next."""

    name: ClassVar[str] = "PEFT: merge, unmerge"

    def _leave(self) -> None:
        if self._serving:
            self._model.unmerge_adapter()

    def _enter(self) -> None:
        self._model.merge_adapter()


class PeftMerge:
    """A module with one linear layer for each weight, wrapped by PEFT, all adapters loaded."""

    def __init__(
        self, weights: Mapping[str, Float32Array], adapters: Sequence[LoraAdapter]
    ) -> None:
        """Build it of layer name -> (out, in) and adapters of one rank and scaling."""
        torch, peft = torch_and_peft()
        self._places = {name: f"layer{i}" for i, name in enumerate(weights)}
        container = torch.nn.Module()
        for name, weight in weights.items():
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data = torch.from_numpy(weight.copy())
            container.add_module(self._places[name], linear)
        moved = [
            replace(each, layers={self._places[n]: x for n, x in each.layers.items()})
            for each in adapters
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = _wrapped(peft, container, moved)
        self._merged = False

    def merge(self, mix: AdapterMix) -> None:
        """Go from the merged state of one mix to that of `mix`, as SemLA goes from mix to mix.

        Unmerge the old mix and delete it, combine the new one (`cat`), activate and merge it.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._merged:
                self._model.unmerge_adapter()
                self._model.delete_adapter("mix")
            self._model.add_weighted_adapter(
                list(mix.names), list(mix.weights), "mix", combination_type="cat"
            )
            self._model.set_adapter("mix")
            self._model.merge_adapter()
        self._merged = True

    def difference(self, weights: WeightSource) -> float:
        """Return the largest |difference| between the merged state and `weights`."""
        modules = dict(self._model.named_modules())

        def merged(name: str) -> Float32Array:
            layer = modules[f"base_model.model.{self._places[name]}"].base_layer
            return np.asarray(layer.weight.detach().numpy())

        return max(
            float(np.abs(merged(name) - array_of(weights, name)).max()) for name in weights.names
        )


def torch_and_peft() -> tuple[Any, Any]:
    """Return both modules.

    Raises:
        EngineUnavailableError: One is missing.
    """
    try:
        import torch

        from semla_ros.prepare.bundler.clip import mend_torchvision

        mend_torchvision()  # PEFT imports it on the way, and never calls it
        import peft
    except ImportError as error:
        raise EngineUnavailableError(
            f"expected torch and PEFT, got {error}: pip install '.[dev]'"
        ) from error
    return torch, peft


def _network(material: Material) -> Any:  # noqa: ANN401  a torch module
    from safetensors.torch import load_file

    from semla_ros.network.checkpoint import catseg_from_state
    from semla_ros.network.config import CatSegConfig

    state = load_file(str(material.bundle.weights))
    size = material.bundle.manifest.segmentation.size
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    return catseg_from_state(
        state, CatSegConfig.from_state_dict(shapes, resolution=size)
    ).requires_grad_(requires_grad=False)


def _wrapped(peft: Any, model: Any, adapters: Iterable[LoraAdapter]) -> Any:  # noqa: ANN401
    """Return `model` with all adapters loaded into PEFT."""
    wrapped: Any = None
    for adapter in adapters:
        name = adapter.name
        rank, scaling = _uniform(adapter)
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=scaling * rank,
            target_modules=sorted(adapter.layers),
            lora_dropout=0.0,
        )
        if wrapped is None:
            wrapped = peft.get_peft_model(model, config, adapter_name=name)
        else:
            wrapped.add_adapter(name, config)
        peft.set_peft_model_state_dict(wrapped, _state(adapter), adapter_name=name)
    return wrapped.eval()


def _state(adapter: LoraAdapter) -> dict[str, Any]:
    import torch

    state: dict[str, Any] = {}
    for layer, factors in adapter.layers.items():
        stem = f"base_model.model.{layer}"
        state[f"{stem}.lora_A.weight"] = torch.from_numpy(np.array(factors.lora_a))
        state[f"{stem}.lora_B.weight"] = torch.from_numpy(np.ascontiguousarray(factors.lora_b))
    return state


def _uniform(adapter: LoraAdapter) -> tuple[int, float]:
    kinds = {(len(f.lora_a), float(f.scaling)) for f in adapter.layers.values()}
    if len(kinds) != 1:
        raise EngineUnavailableError(
            f"adapter {adapter.name!r}: expected one rank and scaling, got {sorted(kinds)!r}"
        )
    return next(iter(kinds))
