"""Write a model bundle: export, seal with sha256, and move into place when whole."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from semla_ros.bundle import (
    AS_BASE,
    AS_TRAINED,
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    ModelBundle,
    NavigatorSpec,
    SegmentationSpec,
    TextSpec,
    file_sha256,
    open_bundle,
    write_manifest,
)
from semla_ros.core.errors import BundleError
from semla_ros.core.types import MAX_CLASSES, Vocabulary
from semla_ros.navigator.prompts import write_prompts
from semla_ros.navigator.text_encoder import ENCODER_KEY
from semla_ros.network.catseg import CatSeg
from semla_ros.network.layers import AdaptableLayer, adaptable_layers, output_projections
from semla_ros.prepare.bundler.graph_file import save_graph
from semla_ros.prepare.bundler.navigator_parts import SEGMENTER, Navigator, NavigatorText
from semla_ros.prepare.bundler.onnx_export import (
    export_image_encoder,
    export_segmentation,
    export_text_encoder,
    export_text_half,
)
from semla_ros.prepare.bundler.segmenter_navigator import share_embedding

Check = Callable[[ModelBundle], None]
"""Is shown a whole bundle before it appears; what it raises calls it off."""


@dataclass(frozen=True, slots=True)
class BundleParts:
    """Everything a bundle is made of.

    Attributes:
        name: What people call the model.
        model: The network, in evaluation mode.
        tokenizer_json: The text encoder's tokenizer.
        text: Prompt template and context length.
        navigator: See `Navigator`.
        vocabulary: Default class list.
        defaults: Adaptation settings.
        adapter_guidance: See `Manifest`.
        attention: Whether adapters may change all of CLIP's attention, see `live_layers`.
    """

    name: str
    model: CatSeg
    tokenizer_json: str
    text: TextSpec
    navigator: Navigator
    vocabulary: Vocabulary
    defaults: AdaptationDefaults
    adapter_guidance: str = AS_BASE
    attention: bool = False


def write_bundle(
    out: Path,
    parts: BundleParts,
    *,
    library: Path | None = None,
    check: Check | None = None,
) -> ModelBundle:
    """Return the bundle written to the folder `out`, which appears only when whole.

    Args:
        out: Must not exist yet.
        parts: What to write.
        library: A folder of adapters in SemLA's layout to copy in.
        check: Called with the whole bundle before it appears; what it raises calls it off.

    Raises:
        BundleError: `out` exists, or cannot be written.
    """
    return new_bundle(out, partial(_fill, parts=parts), library=library, check=check)


def new_bundle(
    out: Path,
    fill: Callable[[Path], None],
    *,
    library: Path | None = None,
    check: Check | None = None,
) -> ModelBundle:
    """Return the bundle that `fill` writes into a folder, see `write_bundle` for the rest."""
    require_free(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            root = Path(scratch) / out.name
            root.mkdir()
            fill(root)
            if library is None:
                (root / "library").mkdir()
            else:
                shutil.copytree(library, root / "library")
            bundle = open_bundle(root)
            if check is not None:
                check(bundle)
            root.rename(out)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot write {str(out)!r}: {error}: check space and rights") from error
    return open_bundle(out, verify=False)


def require_free(out: Path) -> None:
    """Return if nothing is in the way of a new folder `out`.

    Raises:
        BundleError: Something is there.
    """
    if out.exists() or out.is_symlink():
        raise BundleError(f"{str(out)!r} exists already: choose another folder or remove it")


def state_identity(state: Mapping[str, Tensor], *, prefix: str) -> str:
    """Return `prefix:` and 16 hex digits that change with any name, shape or value of `state`."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().contiguous()
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return f"{prefix}:{digest.hexdigest()[:16]}"


def live_layers(model: CatSeg, *, attention: bool = False) -> tuple[AdaptableLayer, ...]:
    """Return the layers that adapters may change: those SemLA's really do.

    Args:
        model: The network.
        attention: q, k and v of CLIP, too, whose official adapters are never executed, and
            out_proj, which has none.
    """
    layers = (x for x in adaptable_layers(model.config) if x.used)
    if attention:
        return (*layers, *output_projections(model.config))
    return tuple(x for x in layers if not x.inert_in_official)


def base_identity(model: CatSeg) -> str:
    """Return the identity that adapters of `model` carry."""
    return state_identity(model.state_dict(), prefix="catseg")


def _fill(root: Path, *, parts: BundleParts) -> None:
    layers = live_layers(parts.model, attention=parts.attention)
    model = parts.model.eval()
    config = model.config
    state = {k: v.detach().contiguous() for k, v in model.state_dict().items()}
    (root / "tokenizer.json").write_text(parts.tokenizer_json, encoding="utf-8")
    weights = root / "weights.safetensors"
    save_file(state, str(weights), metadata={"format": "pt"})
    shutil.copymode(root / "tokenizer.json", weights)  # safetensors writes for the owner alone
    graphs = _export(root, model, layers, choose_tap=parts.adapter_guidance == AS_TRAINED)
    navigator = write_navigator(
        root, parts.navigator, base_model=base_identity(model), shape=(config.resolution,) * 2
    )
    files = {
        str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()
    }
    manifest = Manifest(
        name=parts.name,
        family="catseg",
        base_model=base_identity(model),
        segmentation=SegmentationSpec(
            config.resolution,
            config.crop_size,
            max_classes=MAX_CLASSES,
            class_pooling=config.pooling,
        ),
        text=parts.text,
        navigator=navigator,
        vocabulary=parts.vocabulary,
        defaults=parts.defaults,
        layers=graphs,
        files=files,
        adapter_guidance=parts.adapter_guidance,
    )
    write_manifest(root, manifest)


def write_navigator(
    root: Path, navigator: Navigator, *, base_model: str, shape: tuple[int, int]
) -> NavigatorSpec | None:
    """Write the navigator's files into `root`, beside the segmentation graph of `shape` (H, W).

    Returns:
        What the manifest says of it. A bundle's is written as it is: no longer shared, as the
        segmentation graph beside it may be another one.

    Raises:
        TrainingError: See `share_embedding`.
    """
    if navigator is None:
        return None
    if isinstance(navigator, ModelBundle):
        for path in (
            navigator.navigator_graph,
            navigator.navigator_prompts,
            navigator.navigator_text,
        ):
            if path.is_file():
                shutil.copyfile(path, root / path.name)
        spec = navigator.manifest.navigator
        return replace(spec, shared=False) if spec else None
    if navigator == SEGMENTER:
        return share_embedding(root, base_model=base_model, shape=shape)
    encoder, path = navigator.encoder, root / "navigator.onnx"
    if isinstance(encoder, nn.Module):
        export_image_encoder(encoder, path, size=navigator.spec.size)
    else:
        save_graph(encoder, path)
    if navigator.prompts is not None:
        write_prompts(root / "navigator_prompts.npz", navigator.prompts)
    if navigator.text is not None:
        _write_text(root, navigator.text, encoder=navigator.spec.identity)
    return navigator.spec


def _write_text(root: Path, text: NavigatorText, *, encoder: str) -> None:
    """Write the navigator's text half; its tokenizer is the bundle's, which may be there already.

    Raises:
        BundleError: The network reads another tokenizer.
    """
    tokenizer = root / "tokenizer.json"
    if not tokenizer.is_file():
        tokenizer.write_text(text.tokenizer_json, encoding="utf-8")
    if tokenizer.read_text(encoding="utf-8") != text.tokenizer_json:
        raise BundleError("expected network and navigator to share a tokenizer, got two")
    path, length = root / "navigator_text.onnx", text.context_length
    export_text_half(text.module, path, length=length, metadata={ENCODER_KEY: encoder})


def _export(
    root: Path, model: CatSeg, layers: tuple[AdaptableLayer, ...], *, choose_tap: bool
) -> tuple[GraphWeight, ...]:
    text = tuple(layer for layer in layers if layer.tower == "text")
    image = tuple(layer for layer in layers if layer.tower != "text")
    found = {
        **export_segmentation(model, root / "segmentation.onnx", image, choose_tap=choose_tap),
        **export_text_encoder(model, root / "text_encoder.onnx", text),
    }
    return tuple(found.values())
