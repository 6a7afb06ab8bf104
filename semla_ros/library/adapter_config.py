"""`adapter_config.json`: which LoRA settings mean a plain low-rank sum, and which do not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.structured_text import from_json
from semla_ros.library.seal import CONFIG_FILE, Seal, read_sealed

PICKLE_FILE = "adapter_model.bin"
MAX_CONFIG_BYTES = 4_000_000
MAX_RANK = 1024
MAX_ALPHA = 1_000_000

# These alter the forward pass, so a sum of scaling * B @ A would silently be another model.
FORWARD_CHANGING = (
    "alora_invocation_tokens",
    "arrow_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)
# Where and how training started; the saved tensors already hold the outcome.
HARMLESS = frozenset(
    {
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
        "target_modules",
        "use_rslora",
        "velora_config",
    }
)
# PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA rewrite the base weights that the adapter is added to.
BASE_KEEPING_INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
_VARIANT_KEY = re.compile(
    r"^(use|lora|layer|layers|target|modules|trainable)_|_(config|bias|tokens)$"
)
_PREFIX = re.compile(r"^(module\.|_orig_mod\.|base_model\.model\.)+")
_COMPILED = "._orig_mod."
_LITERAL_PATTERN = re.compile(r"\^?(\w|-|\.|\\\.)+")


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """What of `adapter_config.json` decides the numbers.

    Attributes:
        rank: Rank of every module that `rank_pattern` does not name.
        alpha: Alpha of every module that `alpha_pattern` does not name.
        rank_pattern, alpha_pattern: Module name or its dotted end -> own value.
        rank_stabilised: Scaling is alpha / sqrt(rank) instead of alpha / rank.
        base_model: Identity of the base model, None where the file is silent.
        target_modules: Full module names the file promises; short ends are left out.
    """

    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    base_model: str | None
    target_modules: tuple[str, ...]

    def rank_of(self, module: str) -> int:
        """Return the rank of `module`."""
        return int(_matched(self.rank_pattern, module, default=self.rank))

    def scaling_of(self, module: str) -> float:
        """Return the scaling of `module`.

        Source: PEFT 0.21.2; the first pattern key that ends the module name wins.
        """
        rank = self.rank_of(module)
        alpha = _matched(self.alpha_pattern, module, default=self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def module_name(name: str) -> str:
    """Return a module's name without what was put around it and changes no number.

    Torch.compile writes `_orig_mod.`, data parallel training `module.`, PEFT `base_model.model.`.
    """
    return _PREFIX.sub("", name).replace(_COMPILED, ".")


def read_settings(folder: Path, *, seal: Seal | None) -> AdapterSettings:
    """Return the settings of the adapter in `folder`.

    Raises:
        AdapterError: No file, not what was sealed, no JSON, not a plain LoRA, or values out of
            range.
    """
    content = _read_json(folder / CONFIG_FILE, seal)
    return settings_from_dict(content, source=f"{folder.name}/{CONFIG_FILE}")


def settings_from_dict(data: Mapping[str, Any], source: str) -> AdapterSettings:
    """Return the settings in `data`; `source` names the file in messages.

    Raises:
        AdapterError: Not a plain LoRA, or values out of range.
    """
    _refuse_variants(data, source)
    rank = _rank(data.get("r"), source, key="r")
    alpha = _alpha(data.get("lora_alpha"), source, key="lora_alpha")
    ranks = _pattern(data, "rank_pattern", source)
    alphas = _pattern(data, "alpha_pattern", source)
    base = data.get("base_model_name_or_path")
    if base is not None and not isinstance(base, str):
        raise AdapterError(f"{source}: expected 'base_model_name_or_path' as text, got {base!r}")
    targets = data.get("target_modules")
    listed = targets if isinstance(targets, list) else ()
    return AdapterSettings(
        rank=rank,
        alpha=alpha,
        rank_pattern={k: _rank(v, source, key=f"rank_pattern[{k!r}]") for k, v in ranks.items()},
        alpha_pattern={
            k: _alpha(v, source, key=f"alpha_pattern[{k!r}]") for k, v in alphas.items()
        },
        rank_stabilised=bool(data.get("use_rslora")),
        base_model=base or None,
        target_modules=tuple(
            name for t in listed if isinstance(t, str) and "." in (name := module_name(t))
        ),
    )


def missing_remedy(folder: Path) -> str:
    """Return what to do about an adapter's folder in which a file is missing."""
    if (folder / PICKLE_FILE).is_file():
        return (
            f"{PICKLE_FILE} is a pickle, which is never loaded here: `semla library add` and "
            "`semla bundle import` convert it"
        )
    inside = named_folders(folder)
    if inside:
        return (
            f"the adapter lies in its folder {inside[0].name!r}: `semla library add` and `semla "
            "bundle import` take it from there, or move its files up"
        )
    return "copy the adapter's folder again"


def named_folders(folder: Path) -> list[Path]:
    """Return the folders in `folder` that hold an adapter, as PEFT saves those with a name."""
    if not folder.is_dir():
        return []
    return [f for f in sorted(folder.iterdir()) if (f / CONFIG_FILE).is_file()]


def _read_json(path: Path, seal: Seal | None) -> Mapping[str, Any]:
    where = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise AdapterError(f"expected {where}, found none: {missing_remedy(path.parent)}")
    try:
        content = read_sealed(path, seal, max_bytes=MAX_CONFIG_BYTES)
        data = from_json(content)
    except (OSError, ValueError) as error:
        raise AdapterError(f"{where}: {error}: copy it again") from error
    if not isinstance(data, dict):
        raise AdapterError(f"{where}: expected a JSON object, got {type(data).__name__}")
    return data


def _refuse_variants(data: Mapping[str, Any], source: str) -> None:
    kind = data.get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"{source}: expected peft_type 'LORA', got {kind!r}: train a LoRA")
    unknown = [k for k in data if _VARIANT_KEY.search(k) and k not in HARMLESS]
    refused = {k: data[k] for k in (*FORWARD_CHANGING, *unknown) if data.get(k)}
    if data.get("bias") not in (None, "none"):
        refused["bias"] = data["bias"]
    if refused:
        raise AdapterError(
            f"{source}: expected a plain LoRA, got {refused!r}, which cannot be summed exactly: "
            "train without, or merge it into a plain LoRA first"
        )
    init = data.get("init_lora_weights")
    if init not in BASE_KEEPING_INITS:
        raise AdapterError(
            f"{source}: init_lora_weights {init!r} rewrites the base weights: convert it to a "
            "plain LoRA (PEFT: save_pretrained with path_initial_model_for_weight_conversion)"
        )


def _rank(value: object, source: str, *, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_RANK:
        raise AdapterError(f"{source}: expected {key} from 1 to {MAX_RANK}, got {value!r}")
    return value


def _alpha(value: object, source: str, *, key: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not abs(value) <= MAX_ALPHA
    ):
        raise AdapterError(
            f"{source}: expected {key} as a number up to {MAX_ALPHA}, got {value!r}"
        )
    return float(value)


def _pattern(data: Mapping[str, Any], key: str, source: str) -> Mapping[str, object]:
    pattern = data.get(key) or {}
    if not isinstance(pattern, dict):
        raise AdapterError(f"{source}: expected {key} as an object, got {pattern!r}")
    odd = [name for name in pattern if not _LITERAL_PATTERN.fullmatch(name)]
    if odd:
        raise AdapterError(
            f"{source}: {key} holds regular expressions {odd!r}: write out the module names"
        )
    keys = {name: name.replace("\\", "") for name in pattern}
    return {
        "^" * key.startswith("^") + module_name(key.removeprefix("^")): pattern[name]
        for name, key in keys.items()
    }


def _matched(
    pattern: Mapping[str, int] | Mapping[str, float], module: str, default: float
) -> float:
    for key, value in pattern.items():
        whole = key.startswith("^")
        if module == key.lstrip("^") or (not whole and module.endswith(f".{key}")):
            return value
    return default
