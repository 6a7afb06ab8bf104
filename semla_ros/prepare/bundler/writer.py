"""Write a model bundle: export, seal with sha256, and move into place when whole."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from semla_ros.navigator.prompts import PromptEmbeddings, write_prompts
from semla_ros.navigator.text_encoder import ENCODER_KEY
from semla_ros.network.catseg import CatSeg
from semla_ros.network.layers import AdaptableLayer, adaptable_layers, output_projections
from semla_ros.prepare.bundler.onnx_export import (
    export_image_encoder,
    export_segmentation,
    export_text_encoder,
    export_text_half,
)


@dataclass(frozen=True, slots=True)
class NavigatorText:
    """The text half of a navigator.

    Attributes:
        module: Tokens (T, L) int64, zero after the end mark -> features (T, E).
        context_length: L, in tokens.
        tokenizer_json: Its tokenizer.
    """

    module: nn.Module
    context_length: int
    tokenizer_json: str


@dataclass(frozen=True, slots=True)
class NavigatorParts:
    """An image encoder module, (1, 3, N, N) -> (1, E), and what the manifest says of it.

    Attributes:
        module: The encoder.
        spec: Its entry in the manifest.
        prompts: Words in its space, None where it has no text tower.
        text: Its text half, None likewise.
    """

    module: nn.Module
    spec: NavigatorSpec
    prompts: PromptEmbeddings | None = None
    text: NavigatorText | None = None


@dataclass(frozen=True, slots=True)
class BundleParts:
    """Everything a bundle is made of.

    Attributes:
        name: What people call the model.
        model: The network, in evaluation mode.
        tokenizer_json: The text encoder's tokenizer.
        text: Prompt template and context length.
        navigator: None for a bundle with explicit mixes only; a bundle: as it has it.
        vocabulary: Default class list.
        defaults: Adaptation settings.
        adapter_guidance: See `Manifest`.
        attention: Whether adapters may change all of CLIP's attention, see `live_layers`.
    """

    name: str
    model: CatSeg
    tokenizer_json: str
    text: TextSpec
    navigator: NavigatorParts | ModelBundle | None
    vocabulary: Vocabulary
    defaults: AdaptationDefaults
    adapter_guidance: str = AS_BASE
    attention: bool = False

    @property
    def navigator_spec(self) -> NavigatorSpec | None:
        """The navigator's entry in the manifest."""
        if isinstance(self.navigator, ModelBundle):
            return self.navigator.manifest.navigator
        return self.navigator.spec if self.navigator else None


def write_bundle(
    out: Path,
    parts: BundleParts,
    *,
    library: Path | None = None,
    check: Callable[[ModelBundle], None] | None = None,
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
    check: Callable[[ModelBundle], None] | None = None,
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
    write_navigator(root, parts.navigator)
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
        navigator=parts.navigator_spec,
        vocabulary=parts.vocabulary,
        defaults=parts.defaults,
        layers=graphs,
        files=files,
        adapter_guidance=parts.adapter_guidance,
    )
    write_manifest(root, manifest)


def write_navigator(root: Path, parts: NavigatorParts | ModelBundle | None) -> None:
    """Write the navigator's files into `root`, of a bundle's as they are; None: nothing."""
    if isinstance(parts, ModelBundle):
        for path in (parts.navigator_graph, parts.navigator_prompts, parts.navigator_text):
            if path.is_file():
                shutil.copyfile(path, root / path.name)
        return
    if parts is None:
        return
    export_image_encoder(parts.module, root / "navigator.onnx", size=parts.spec.size)
    if parts.prompts is not None:
        write_prompts(root / "navigator_prompts.npz", parts.prompts)
    if parts.text is not None:
        _write_text(root, parts.text, encoder=parts.spec.identity)


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
