"""Read a network of transformers from its folder: configuration, weights, image processor, labels.

Nothing in the folder is executed: configurations are data for classes of the library itself, and
weights are read as every checkpoint is here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semla_ros.core.errors import TrainingError
from semla_ros.core.files.structured_text import from_json
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint
from semla_ros.prepare.bundler.clip import mend_torchvision
from semla_ros.prepare.bundler.transformers.heads import KINDS, Foreign

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
SAFE, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
MAX_JSON_BYTES = 16_000_000
MAX_SIZE, MAX_BLOCKS = 1_000_000, 256
ATTENTION = "eager"
"""torch has a fused one, which does not export for Swin."""
_COUNTS = re.compile(r"^(depths|num_\w*(layers|blocks)|\w*_layers|\w*depth)$")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HEADS = ("SemanticSegmentation", "UniversalSegmentation")


@dataclass(frozen=True, slots=True)
class HubCheckpoint:
    """A network as its folder has it.

    Attributes:
        network: In evaluation mode, float32.
        model_type: Its architecture.
        labels: Class names in id order; None where the checkpoint numbers them only.
        classes: How many.
        names: What people and adapters call it: its folder, its name on a hub.
        folder: Where it lies.
    """

    network: nn.Module
    model_type: str
    labels: tuple[str, ...] | None
    classes: int
    names: tuple[str, ...]
    folder: Path


def read_hub_checkpoint(source: str) -> HubCheckpoint:
    """Return the network in the folder `source`, or that of this name on Hugging Face's hub.

    Raises:
        TrainingError: No such folder or name, not a semantic segmenter of `KINDS`, incomplete,
            damaged, or transformers is not installed.
    """
    folder = _folder(source)
    config = read_config(folder)
    network = _network(folder, config)
    own = str(read_json(folder / CONFIG).get("_name_or_path") or "")
    names = dict.fromkeys(_last(each) for each in (source, own, str(folder.resolve())))
    return HubCheckpoint(
        network=network,
        model_type=config.model_type,
        labels=_labels(config),
        classes=int(config.num_labels),
        names=tuple(name for name in names if name),
        folder=folder,
    )


def import_transformers() -> Foreign:
    """Return the library, even beside a torchvision whose compiled operators do not load.

    Raises:
        TrainingError: It is not installed.
    """
    mend_torchvision()
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"family 'transformers' needs {error.name!r}: pip install '.[import]'"
        ) from error
    return transformers


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Let transformers speak of errors only; it reports loading as progress bars and notes."""
    logging = import_transformers().logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in `path`.

    Raises:
        TrainingError: Missing, too large, or no JSON object.
    """
    where = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise TrainingError(f"expected {where}, found none: download the whole checkpoint")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise TrainingError(f"{where}: expected at most {MAX_JSON_BYTES} bytes: download it again")
    try:
        data = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{where}: {error}: download it again") from error
    if not isinstance(data, dict):
        raise TrainingError(f"{where}: expected a JSON object, got {type(data).__name__}")
    return data


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _folder(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists() or not _HUB_NAME.fullmatch(source):
        raise TrainingError(
            f"expected the folder of a checkpoint of transformers, or its name on the hub as "
            f"OWNER/NAME, got {source!r}"
        )
    import_transformers()
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(source, allow_patterns=["*.json", "*.safetensors", PICKLED])
    except Exception as error:  # the hub's client raises what its HTTP library raises
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"checkpoint {source!r} is no folder and cannot be downloaded ({reason}): give the "
            "folder of its files"
        ) from error
    return Path(found)


def read_config(folder: Path) -> Foreign:
    """Return the configuration in `folder`, of a known architecture and of believable sizes.

    Raises:
        TrainingError: It is missing, damaged, or of a network that does not segment.
    """
    data, where = read_json(folder / CONFIG), f"{folder.name}/{CONFIG}"
    kind, architectures = data.get("model_type"), data.get("architectures") or []
    if kind not in KINDS:
        raise TrainingError(f"{where}: expected model_type of {tuple(KINDS)!r}, got {kind!r}")
    if architectures and not any(head in str(each) for each in architectures for head in _HEADS):
        raise TrainingError(
            f"{where}: expected a network for semantic segmentation, got {architectures!r}: give "
            "a checkpoint that was trained to segment"
        )
    _check_sizes(data, where)
    transformers = import_transformers()
    try:
        return transformers.CONFIG_MAPPING[kind].from_dict(data)
    except Exception as error:  # whatever its classes raise for values they do not like
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{where}: unusable configuration ({reason})") from error


def _check_sizes(data: object, where: str, key: str = "") -> None:
    """Refuse numbers that would make a network of absurd size before memory is taken."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            _check_sizes(value, where, str(name))
    elif isinstance(data, list):
        for value in data:
            _check_sizes(value, where, key)
    elif isinstance(data, int):
        limit = MAX_BLOCKS if _COUNTS.match(key) else MAX_SIZE
        if data > limit:
            raise TrainingError(f"{where}: expected {key} up to {limit}, got {data}")


def empty_network(config: Foreign) -> nn.Module:
    """Return a network of `config` whose weights are to be loaded; evaluation mode, float32.

    Raises:
        TrainingError: The configuration makes none.
    """
    try:
        with quietly():
            made: nn.Module = _class_of(config)._from_config(
                config, dtype=torch.float32, attn_implementation=ATTENTION
            )
    except Exception as error:  # whatever its classes raise for values they do not like
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{CONFIG}: unusable configuration ({reason})") from error
    return made.eval()


def _class_of(config: Foreign) -> Foreign:
    transformers = import_transformers()
    known = transformers.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING
    universal = transformers.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
    return known[type(config)] if type(config) in known else universal[type(config)]


def _network(folder: Path, config: Foreign) -> nn.Module:
    kind, state = _class_of(config), _state(folder)
    try:
        with quietly():
            network, loaded = kind.from_pretrained(
                None,
                config=config,
                state_dict=state,
                attn_implementation=ATTENTION,
                output_loading_info=True,
            )
    except Exception as error:  # shapes that differ, above all
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(
            f"checkpoint {folder.name!r}: weights and {CONFIG} do not fit each other ({reason})"
        ) from error
    missing = sorted(loaded["missing_keys"])
    if missing or loaded["mismatched_keys"]:
        odd = missing or sorted(str(each) for each in loaded["mismatched_keys"])
        raise TrainingError(
            f"checkpoint {folder.name!r}: {len(odd)} weights of a {kind.__name__} are missing or "
            f"of another shape, e.g. {odd[:2]!r}: give a checkpoint that was trained to segment"
        )
    whole: nn.Module = network.float().eval()
    return whole


def _state(folder: Path) -> dict[str, Tensor]:
    """Return the weights, from one file or from several."""
    if (folder / INDEX).is_file():
        places = read_json(folder / INDEX).get("weight_map")
        names = sorted({str(each) for each in places.values()}) if isinstance(places, dict) else []
        if not names or any(Path(name).name != name for name in names):
            raise TrainingError(f"{folder.name}/{INDEX}: expected a weight_map of files beside it")
        state: dict[str, Tensor] = {}
        for name in names:
            state |= read_checkpoint(folder / name)
        return state
    for name in (SAFE, PICKLED):
        if (folder / name).is_file():
            return dict(read_checkpoint(folder / name))
    raise TrainingError(
        f"expected {SAFE} or {PICKLED} in {folder.name!r}, found none: download the whole "
        "checkpoint"
    )


def _labels(config: Foreign) -> tuple[str, ...] | None:
    """Return `id2label` in order, None where nobody named the classes."""
    labels = {int(place): str(name) for place, name in (config.id2label or {}).items()}
    numbered = [f"LABEL_{i}" for i in range(len(labels))]
    if sorted(labels) != list(range(len(labels))) or list(labels.values()) == numbered:
        return None
    return tuple(labels[place] for place in range(len(labels)))


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return what the network holds, contiguous, float32 where it computes with it."""
    state = network.state_dict()
    return {
        key: value.detach().to(torch.float32 if value.is_floating_point() else value.dtype).clone()
        for key, value in state.items()
    }
