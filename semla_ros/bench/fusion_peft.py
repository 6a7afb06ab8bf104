"""The same merge with PEFT, called as SemLA calls it, to the same merged weights."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from semla_ros.timing import now_ms
from semla_ros.types import AdapterMix, Float32Array, LoraAdapter

_MIX = "mix"
_Spent = tuple[float, float]
Steps = Sequence[tuple[str, Callable[[], Any]]]


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
        self.names = [adapter.name for adapter in adapters]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model: Any = get_peft_model(container, config, adapter_name=self.names[0])
            for adapter in adapters[1:]:
                self.model.add_adapter(adapter.name, config)
        modules = dict(self.model.named_modules())
        for adapter in adapters:
            for name, layer in adapter.layers.items():
                module = modules[f"base_model.model.{self._places[name]}"]
                module.lora_A[adapter.name].weight.data = torch.from_numpy(layer.lora_a.copy())
                module.lora_B[adapter.name].weight.data = torch.from_numpy(
                    np.ascontiguousarray(layer.lora_b)
                )

    def costs(self, mixes: Sequence[AdapterMix]) -> dict[str, Any]:
        """Return the milliseconds of each step from one merged mix to the next.

        `to_merged_state`: unmerge the old mix, delete it, combine the new one (`cat`), activate
        and merge it; the state after it is what the other ways are compared with. `difference`
        is a call that returns how far given weights are from the last mix.
        """
        self._combine(mixes[0])
        self.model.merge_adapter()
        taken: dict[str, list[_Spent]] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for mix in mixes:
                spent = {step: _timed(call) for step, call in self._steps(mix)}
                total = (sum(w for w, _ in spent.values()), sum(c for _, c in spent.values()))
                for step, value in {**spent, "to_merged_state": total}.items():
                    taken.setdefault(step, []).append(value)
        found: dict[str, Any] = {
            step: {
                "min": min(wall for wall, _ in values),
                "median": median(wall for wall, _ in values),
                "cpu_min": min(cpu for _, cpu in values),
            }
            for step, values in taken.items()
        }
        return {**found, "difference": self.difference}

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

    def _steps(self, mix: AdapterMix) -> Steps:
        model = self.model
        return (
            ("unmerge_adapter", model.unmerge_adapter),
            ("delete_adapter", lambda: model.delete_adapter(_MIX)),
            ("add_weighted_adapter_cat_and_set", lambda: self._combine(mix)),
            ("merge_adapter", model.merge_adapter),
        )

    def _combine(self, mix: AdapterMix) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.add_weighted_adapter(
                list(mix.names), list(mix.weights), _MIX, combination_type="cat"
            )
            self.model.set_adapter(_MIX)


def _timed(call: Callable[[], Any]) -> _Spent:
    started, cpu_s = now_ms(), time.process_time()
    call()
    return now_ms() - started, (time.process_time() - cpu_s) * 1e3
