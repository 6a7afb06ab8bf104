"""The same merge with PEFT, called as SemLA calls it, to the same merged weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semla_ros.types import AdapterMix, Float32Array, LoraAdapter

_MIX = "mix"


class PeftMerge:
    """A module with one linear layer for each weight, wrapped by PEFT, all adapters loaded."""

    def __init__(
        self,
        weights: Mapping[str, Float32Array],
        adapters: Sequence[LoraAdapter],
        *,
        scaling: float,
    ) -> None:
        """Build it.

        Args:
            weights: Layer name -> (out, in).
            adapters: All of one rank.
            scaling: alpha / rank of all of them.
        """
        from semla_ros.bundler.clip import mend_torchvision

        mend_torchvision()
        import torch
        from peft import LoraConfig, get_peft_model

        self._places = {name: f"layer{i}" for i, name in enumerate(weights)}
        container = torch.nn.Module()
        for name, weight in weights.items():
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data = torch.from_numpy(weight.copy())
            container.add_module(self._places[name], linear)
        rank = len(next(iter(adapters[0].layers.values())).lora_a)
        config = LoraConfig(
            r=rank, lora_alpha=round(scaling * rank), target_modules=list(self._places.values())
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model: Any = get_peft_model(container, config, adapter_name=adapters[0].name)
            for adapter in adapters[1:]:
                self.model.add_adapter(adapter.name, config)
        self._merged = False
        modules = dict(self.model.named_modules())
        for adapter in adapters:
            for name, layer in adapter.layers.items():
                module = modules[f"base_model.model.{self._places[name]}"]
                module.lora_A[adapter.name].weight.data = torch.from_numpy(layer.lora_a.copy())
                module.lora_B[adapter.name].weight.data = torch.from_numpy(
                    np.ascontiguousarray(layer.lora_b)
                )

    def merge(self, mix: AdapterMix) -> None:
        """Go from the merged state of one mix to that of `mix`, as SemLA goes from mix to mix.

        Unmerge the old mix and delete it, combine the new one (`cat`), activate and merge it.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._merged:
                self.model.unmerge_adapter()
                self.model.delete_adapter(_MIX)
            self.model.add_weighted_adapter(
                list(mix.names), list(mix.weights), _MIX, combination_type="cat"
            )
            self.model.set_adapter(_MIX)
            self.model.merge_adapter()
        self._merged = True

    def difference(self, weights: Mapping[str, Float32Array]) -> float:
        """Return the largest |difference| between the merged state and `weights` (out, in)."""
        modules = dict(self.model.named_modules())
        return max(
            float(
                np.abs(
                    modules[f"base_model.model.{self._places[name]}"]
                    .base_layer.weight.detach()
                    .numpy()
                    - weights[name]
                ).max()
            )
            for name in weights
        )
