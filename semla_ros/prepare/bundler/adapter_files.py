"""Adapters as training tools leave them, made into the layout that a library reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import AdapterError, TrainingError
from semla_ros.core.files.whole_file import write_file
from semla_ros.library.adapter_config import MAX_CONFIG_BYTES, PICKLE_FILE, named_folders
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.statistics import statistics_path
from semla_ros.library.tensor_file import MAX_TENSOR_BYTES
from semla_ros.prepare.adapters.changes import copy_companions, copy_sealed
from semla_ros.prepare.adapters.write import write_adapter


def holds_adapter(folder: Path) -> bool:
    """Return whether `folder` holds an adapter, be it in a named folder or as a pickle."""
    files = (CONFIG_FILE, TENSOR_FILE, PICKLE_FILE)
    return any((folder / file).exists() for file in files) or bool(named_folders(folder))


def plain_folder(source: Path, scratch: Path) -> Path:
    """Return a folder named like `source` in SemLA's layout: itself, or a copy in `scratch`.

    A copy is made of what PEFT saved under an adapter's name (`<source>/<name>/`), and of
    `adapter_model.bin`, whose tensors are read by PyTorch's restricted unpickler.

    Raises:
        AdapterError: Several named folders, or a pickle that holds more than tensors.
    """
    inside = named_folders(source)
    direct = any((source / file).exists() for file in (CONFIG_FILE, TENSOR_FILE, PICKLE_FILE))
    if not direct and len(inside) > 1:
        raise AdapterError(
            f"{str(source)!r} holds several adapters ({', '.join(f.name for f in inside)}): give "
            "one of them"
        )
    origin = source if direct or not inside else inside[0]
    pickled = (origin / PICKLE_FILE).is_file() and not (origin / TENSOR_FILE).exists()
    if origin == source and not pickled:
        return source
    target = scratch / source.name
    target.mkdir(parents=True)
    for name, limit in ((CONFIG_FILE, MAX_CONFIG_BYTES), (TENSOR_FILE, MAX_TENSOR_BYTES)):
        if (origin / name).is_file():
            copy_sealed(origin / name, target / name, max_bytes=limit)
    if pickled:
        _convert(origin / PICKLE_FILE, target / TENSOR_FILE)
    for folder, name in ((origin, origin.name), (source, source.name)):
        if statistics_path(folder, name).is_file():
            own = statistics_path(target, source.name)
            shutil.copyfile(statistics_path(folder, name), own)
    copy_companions(origin, target)
    copy_companions(source, target)
    return target


def recycled_folder(source: Path, bundle: Path, scratch: Path) -> Path:
    """Return a folder in `scratch` with the adapter of a checkpoint of RecycleLoRA.

    Args:
        source: The checkpoint, see `recycled`.
        bundle: Folder of the bundle whose base weights it was trained on.
        scratch: Empty.

    Raises:
        AdapterError: No such checkpoint, of another base, or torch is missing.
    """
    try:
        from semla_ros.prepare.bundler.recycled import read_recycled
    except ImportError as error:
        raise AdapterError(
            f"reading {source.name!r} needs torch ({error}): pip install '.[train]'"
        ) from error
    adapter = read_recycled(source, open_bundle(bundle, verify=False), name=source.stem)
    first = next(iter(adapter.layers.values()))
    write_adapter(scratch / source.stem, adapter, alpha=first.scaling * len(first.lora_a))
    return scratch / source.stem


def _convert(pickle: Path, target: Path) -> None:
    """Write the tensors of a pickle as safetensors."""
    try:
        from safetensors.torch import save

        from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint
    except ImportError as error:
        raise AdapterError(
            f"converting {PICKLE_FILE} needs torch ({error}): pip install '.[train]'"
        ) from error
    try:
        tensors = read_checkpoint(pickle)
    except TrainingError as error:
        raise AdapterError(f"{PICKLE_FILE} cannot be converted: {error}") from error
    content = save({key: tensor.contiguous().clone() for key, tensor in tensors.items()})
    write_file(target, content, error=AdapterError)
