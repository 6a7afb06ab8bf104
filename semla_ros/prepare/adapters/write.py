"""The files of an adapter, so that PEFT, SemLA and the library read the same numbers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.npz_file import npz_content
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import LoraAdapter
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.statistics import CENTROID_KEY, DomainStatistics, statistics_path


def write_adapter(folder: Path, adapter: LoraAdapter, *, alpha: float) -> None:
    """Write `adapter` into `folder` so that PEFT, SemLA and `read_adapter` read the same numbers.

    Args:
        folder: Made if missing; each file is replaced in one step.
        adapter: At least one layer; `base_model` goes into `base_model_name_or_path`.
        alpha: The usual alpha; layers whose scaling * rank differs get an `alpha_pattern`.

    Raises:
        AdapterError: Nothing to write, or the disk refuses; older files are left as they were.
    """
    if not adapter.layers:
        raise AdapterError(f"adapter {adapter.name!r}: expected at least one layer to write")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for module, layer in adapter.layers.items():
        for side, array in (("A", layer.lora_a), ("B", layer.lora_b)):
            key = f"base_model.model.{module}.lora_{side}.weight"
            tensors[key] = np.ascontiguousarray(array, dtype=np.float32)
    config = json.dumps(_config_of(adapter, alpha), indent=2, sort_keys=True)
    content = save(tensors, metadata={"format": "pt"})
    write_file(folder / TENSOR_FILE, content, error=AdapterError)
    write_file(folder / CONFIG_FILE, (config + "\n").encode(), error=AdapterError)


def _config_of(adapter: LoraAdapter, alpha: float) -> dict[str, Any]:
    """Return what `adapter_config.json` says of `adapter`, whose usual alpha is `alpha`."""
    ranks = {module: len(layer.lora_a) for module, layer in adapter.layers.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    own_alpha = {m: layer.scaling * ranks[m] for m, layer in adapter.layers.items()}
    return {
        "auto_mapping": None,
        "base_model_name_or_path": adapter.base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layer_replication": None,
        "layers_pattern": None,
        "layers_to_transform": None,
        "loftq_config": {},
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "megatron_config": None,
        "megatron_core": "megatron.core",
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {m: r for m, r in ranks.items() if r != rank},
        "alpha_pattern": {m: a for m, a in own_alpha.items() if a != alpha},
        "revision": None,
        "target_modules": sorted(adapter.layers),
        "task_type": None,
        "use_dora": False,
        "use_rslora": False,
    }


def write_statistics(folder: Path, name: str, statistics: DomainStatistics) -> Path:
    """Return the path of the file written for `statistics`, readable by SemLA's own tools.

    Raises:
        AdapterError: It cannot be written; an older file is left as it was.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {
        CENTROID_KEY: statistics.centroid.astype(np.float32)[np.newaxis]
    }
    if statistics.count is not None:
        arrays["count"] = np.asarray(statistics.count, dtype=np.int64)
    if statistics.covariance is not None:
        arrays["covariance"] = statistics.covariance.astype(np.float32)
    if statistics.encoder is not None:
        arrays["encoder"] = np.asarray(statistics.encoder)
    if statistics.quantiles is not None:
        arrays["quantile_levels"] = statistics.quantiles.levels.astype(np.float64)
        arrays["quantiles"] = statistics.quantiles.distances.astype(np.float64)
    if statistics.shrinkage is not None:
        arrays["shrinkage"] = np.asarray(statistics.shrinkage, dtype=np.float64)
    if statistics.sample is not None:
        arrays["sample"] = statistics.sample.embeddings.astype(np.float32)
        arrays["sample_blocks"] = statistics.sample.blocks.astype(np.int64)
    return write_file(statistics_path(folder, name), npz_content(arrays), error=AdapterError)
