"""Write a model bundle: export, seal with sha256, and move into place when whole."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from semla_ros.bundle import (
    MANIFEST,
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    ModelBundle,
    NavigatorSpec,
    SegmentationSpec,
    TextSpec,
    file_sha256,
    manifest_to_dict,
    open_bundle,
)
from semla_ros.bundler.onnx_export import export_segmentation, export_text_encoder
from semla_ros.errors import BundleError
from semla_ros.network.catseg import CatSeg
from semla_ros.network.layers import AdaptableLayer, adaptable_layers
from semla_ros.types import Vocabulary


@dataclass(frozen=True, slots=True)
class NavigatorParts:
    """An image encoder module, (1, 3, N, N) -> (1, E), and what the manifest says of it."""

    module: nn.Module
    spec: NavigatorSpec


@dataclass(frozen=True, slots=True)
class BundleParts:
    """Everything a bundle is made of.

    Attributes:
        name: What people call the model.
        model: The network, in evaluation mode.
        tokenizer_json: The text encoder's tokenizer.
        text: Prompt template and context length.
        navigator: None for a bundle with explicit mixes only.
        vocabulary: Default class list.
        defaults: Adaptation settings.
    """

    name: str
    model: CatSeg
    tokenizer_json: str
    text: TextSpec
    navigator: NavigatorParts | None
    vocabulary: Vocabulary
    defaults: AdaptationDefaults


def write_bundle(out: Path, parts: BundleParts, *, library: Path | None = None) -> ModelBundle:
    """Return the bundle written to the folder `out`, which appears only when whole.

    Args:
        out: Must not exist yet.
        parts: What to write.
        library: A folder of adapters in SemLA's layout to copy in.

    Raises:
        BundleError: `out` exists.
    """
    if out.exists():
        raise BundleError(f"{str(out)!r} exists already: choose another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        root = Path(scratch) / out.name
        root.mkdir()
        _fill(root, parts)
        if library is None:
            (root / "library").mkdir()
        else:
            shutil.copytree(library, root / "library")
        open_bundle(root)
        root.rename(out)
    return open_bundle(out, verify=False)


def reseal(bundle: ModelBundle, *, defaults: AdaptationDefaults) -> ModelBundle:
    """Return the bundle with other adaptation defaults written into its manifest."""
    _write_manifest(bundle.root, replace(bundle.manifest, defaults=defaults))
    return open_bundle(bundle.root, verify=False)


def state_identity(state: Mapping[str, Tensor], *, prefix: str) -> str:
    """Return `prefix:` and 16 hex digits that change with any name, shape or value of `state`."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().contiguous()
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return f"{prefix}:{digest.hexdigest()[:16]}"


def live_layers(model: CatSeg) -> tuple[AdaptableLayer, ...]:
    """Return the adaptable layers that SemLA's adapters really change (q, k, v are inert)."""
    return tuple(x for x in adaptable_layers(model.config) if not x.inert_in_official)


def base_identity(model: CatSeg) -> str:
    """Return the identity that adapters of `model` carry."""
    return state_identity(model.state_dict(), prefix="catseg")


def _fill(root: Path, parts: BundleParts) -> None:
    layers = live_layers(parts.model)
    model = parts.model.eval()
    state = {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}
    save_file(state, str(root / "weights.safetensors"), metadata={"format": "pt"})
    (root / "tokenizer.json").write_text(parts.tokenizer_json, encoding="utf-8")
    graphs = _export(root, model, layers)
    if parts.navigator is not None:
        export_navigator(parts.navigator, root / "navigator.onnx")
    files = {
        str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()
    }
    manifest = Manifest(
        name=parts.name,
        family="catseg",
        base_model=base_identity(model),
        segmentation=SegmentationSpec(size=model.config.resolution),
        text=parts.text,
        navigator=parts.navigator.spec if parts.navigator else None,
        vocabulary=parts.vocabulary,
        defaults=parts.defaults,
        layers=graphs,
        files=files,
    )
    _write_manifest(root, manifest)


def _export(
    root: Path, model: CatSeg, layers: tuple[AdaptableLayer, ...]
) -> tuple[GraphWeight, ...]:
    text = tuple(layer for layer in layers if layer.tower == "text")
    image = tuple(layer for layer in layers if layer.tower != "text")
    found: list[GraphWeight] = []
    for graph, chosen, export in (
        ("segmentation", image, export_segmentation),
        ("text_encoder", text, export_text_encoder),
    ):
        weights = export(model, root / f"{graph}.onnx", chosen)
        found += [
            GraphWeight(
                name=layer.name,
                parameter=layer.parameter,
                graph=graph.removesuffix("_encoder"),
                initializer=weights[layer.name].initializer,
                transposed=weights[layer.name].transposed,
                shape=layer.shape,
            )
            for layer in chosen
        ]
    return tuple(found)


def export_navigator(parts: NavigatorParts, path: Path) -> None:
    """Write the image encoder as ONNX: `image` (1, 3, N, N) -> `embedding` (1, E)."""
    size = parts.spec.size
    example = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        torch.onnx.export(
            parts.module.eval(),
            (example,),
            str(path),
            input_names=["image"],
            output_names=["embedding"],
            opset_version=17,
            dynamo=False,
        )


def _write_manifest(root: Path, manifest: Manifest) -> None:
    text = yaml.safe_dump(manifest_to_dict(manifest), sort_keys=False, width=120)
    temporary = root / f"{MANIFEST}.new"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(root / MANIFEST)
