"""The model bundle: one self-describing folder that holds everything a robot needs to segment.

    bundle.yaml                what is inside, defaults, calibration, sha256 of every other file
    bundle.yaml.minisig        who vouches for all of that, where somebody does
    segmentation.onnx          image (B, 3, H, W), text features (T, D) -> logits (B, T, h, w), and
                               the embedding where the navigator is shared
    text_encoder.onnx          tokens (T, L) int64 -> text features (T, D)
    navigator.onnx             image (1, 3, N, M) -> embedding (1, E); absent without a navigator
    navigator_prompts.npz      prompts in the navigator's space; absent without a text tower
    navigator_text.onnx        tokens (T, L) int64 -> embeddings (T, E) of texts; absent likewise
    tokenizer.json             text encoder's tokenizer, format of the `tokenizers` library
                               (a closed class list has neither encoder, tokenizer nor features)
    weights.safetensors        every base weight under its checkpoint name
    checkpoint/                what makes a network of them, for families that need it said
    library/<domain>/          adapters in SemLA's loradb layout

Adapters are not part of the sealed content: a library grows on the robot. Each has a seal of its
own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import yaml

from semla_ros.bundle.manifest import (
    AS_BASE,
    AS_TRAINED,
    FORMAT,
    SCORES,
    SIGMOID,
    SOFTMAX,
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    NavigatorSpec,
    SegmentationSpec,
    TextSpec,
    manifest_from_dict,
    manifest_to_dict,
)
from semla_ros.bundle.manifest_checks import GUIDANCES
from semla_ros.core.errors import BundleError, SemlaError
from semla_ros.core.files.lfs_pointer import lfs_remedy_of
from semla_ros.core.files.structured_text import from_yaml

if TYPE_CHECKING:
    from semla_ros.core.files.signature import Signer, TrustedKeys

__all__ = [
    "AS_BASE",
    "AS_TRAINED",
    "FORMAT",
    "GUIDANCES",
    "MANIFEST",
    "SCORES",
    "SIGMOID",
    "SOFTMAX",
    "AdaptationDefaults",
    "GraphWeight",
    "Manifest",
    "ModelBundle",
    "NavigatorSpec",
    "SegmentationSpec",
    "TextSpec",
    "file_sha256",
    "manifest_to_dict",
    "open_bundle",
    "reseal",
    "write_manifest",
]

MANIFEST = "bundle.yaml"
MAX_MANIFEST_BYTES = 4_000_000
SEALED = ("segmentation.onnx", "weights.safetensors")
TEXT_FILES = ("text_encoder.onnx", "tokenizer.json")
"""Files that a bundle holds and its manifest vouches for: every bundle, and one that takes text;
with a navigator its graph, too."""


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """An opened, verified bundle.

    Attributes:
        root: Its folder.
        manifest: What `bundle.yaml` says.
        signer: Who signed it, None where no signature was asked for.
    """

    root: Path
    manifest: Manifest
    signer: Signer | None = None

    @property
    def segmentation_graph(self) -> Path:
        """Path of the segmentation graph."""
        return self.root / "segmentation.onnx"

    @property
    def text_graph(self) -> Path:
        """Path of the text encoder graph."""
        return self.root / "text_encoder.onnx"

    @property
    def navigator_graph(self) -> Path:
        """Path of the navigator graph."""
        return self.root / "navigator.onnx"

    @property
    def navigator_prompts(self) -> Path:
        """Path of prompts in the navigator's space; absent where it has no text tower."""
        return self.root / "navigator_prompts.npz"

    @property
    def navigator_text(self) -> Path:
        """Path of the text half of the navigator's CLIP; absent where it has none."""
        return self.root / "navigator_text.onnx"

    @property
    def tokenizer(self) -> Path:
        """Path of the tokenizer."""
        return self.root / "tokenizer.json"

    @property
    def weights(self) -> Path:
        """Path of the base weights."""
        return self.root / "weights.safetensors"

    @property
    def library(self) -> Path:
        """Folder of the adapters."""
        return self.root / "library"


def open_bundle(
    root: Path, *, verify: bool = True, trusted: TrustedKeys | None = None
) -> ModelBundle:
    """Return the bundle in folder `root`, every sealed file checked against its sha256.

    Args:
        root: The bundle folder.
        verify: False skips the hashes (not the presence) of the files.
        trusted: Keys of which one must have signed `bundle.yaml`, and so every sha256 in it;
            None: signatures are not asked for.

    Raises:
        BundleError: Missing, edited, unsigned or unknown content; the message names the file.
    """
    path = root / MANIFEST
    if not _is_file(path):
        raise BundleError(
            f"expected a model bundle with {MANIFEST} in {str(root)!r}, found none: "
            "give the folder that `semla bundle` or scripts/make_demo_model wrote"
        )
    content = _content(path)
    signer = trusted.check(path, content, error=BundleError) if trusted else None
    manifest = _parse(content, path.name)
    needed = (
        *SEALED,
        *(TEXT_FILES if manifest.text else ()),
        *(("navigator.onnx",) if manifest.navigator else ()),
    )
    unsealed = [name for name in needed if name not in manifest.files]
    if unsealed:
        raise BundleError(
            f"{path.name}: expected files to name {unsealed[0]!r} with its sha256, got "
            f"{sorted(manifest.files)!r}: rebuild the bundle"
        )
    _check_files(root, manifest.files, verify=verify)
    return ModelBundle(root, manifest, signer)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or one that is none
        return False


def reseal(bundle: ModelBundle, *, defaults: AdaptationDefaults) -> ModelBundle:
    """Return the bundle with other adaptation defaults and calibration in its manifest.

    Raises:
        BundleError: The manifest cannot be written.
    """
    write_manifest(bundle.root, replace(bundle.manifest, defaults=defaults))
    return open_bundle(bundle.root, verify=False)


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write `bundle.yaml` into `root`; it takes the old one's place when it is whole.

    Raises:
        BundleError: It cannot be written.
    """
    text = yaml.safe_dump(manifest_to_dict(manifest), sort_keys=False, width=120)
    temporary = root / f"{MANIFEST}.new"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(root / MANIFEST)
    except OSError as error:
        raise BundleError(f"cannot write {str(root / MANIFEST)!r}: {error}") from error


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_files(root: Path, files: Mapping[str, str], *, verify: bool) -> None:
    for name, expected in files.items():
        path = root / name
        # Links may lead out (colcon --symlink-install makes them): the sha256 holds the content.
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BundleError(f"bundle file {name!r} points outside {str(root)!r}: refused")
        if not path.is_file():
            raise BundleError(f"bundle {str(root)!r} lacks {name!r}: copy the whole folder again")
        if verify and (got := file_sha256(path)) != expected:
            if remedy := lfs_remedy_of(path):
                raise BundleError(f"bundle file {name!r}: {remedy}")
            raise BundleError(
                f"bundle file {name!r} was edited or damaged: expected sha256 {expected[:12]}…, "
                f"got {got[:12]}…: restore it or rebuild the bundle"
            )


def _content(path: Path) -> bytes:
    """Return the bytes of the manifest, read once: those that are verified are those parsed."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"cannot read {str(path)!r}: {error}: check disk and rights") from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path.name} is over {MAX_MANIFEST_BYTES} bytes: not a bundle manifest")
    return content


def _parse(content: bytes, name: str) -> Manifest:
    try:
        data = from_yaml(content)
    except ValueError as error:
        raise BundleError(f"{name} is {error}: restore the bundle") from error
    if not isinstance(data, dict) or repr(data.get("format")) != repr(FORMAT):  # True is no 1
        got = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise BundleError(f"{name}: expected format {FORMAT}, got {got!r}: rebuild it")
    try:
        return manifest_from_dict(data)
    except (ValueError, SemlaError) as error:
        raise BundleError(f"{name}: missing or malformed entry {error}: rebuild") from error
