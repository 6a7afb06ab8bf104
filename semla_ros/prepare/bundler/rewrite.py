"""A bundle written anew: its parts around a network, or the same with more adaptable layers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import BundleError
from semla_ros.engine.torch_engine import load_network
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.bundler.verify import compare_with_torch
from semla_ros.prepare.bundler.writer import BundleParts, require_free, write_bundle

KEPT = ("recipes.yaml", "MODEL_CARD.md")
_ATTENTION = ".attn.q_proj"


def parts_of(bundle: ModelBundle, model: CatSeg, *, name: str) -> BundleParts:
    """Return the parts of `bundle` around `model`, a network of the same sizes.

    Raises:
        BundleError: The bundle is of a family that reads no text.
    """
    manifest = bundle.manifest
    if manifest.text is None:
        raise BundleError(f"bundle {manifest.name!r}: expected CAT-Seg, which reads text")
    return BundleParts(
        name=name,
        model=model,
        tokenizer_json=bundle.tokenizer.read_text(encoding="utf-8"),
        text=manifest.text,
        navigator=bundle if manifest.navigator else None,
        vocabulary=manifest.vocabulary,
        defaults=manifest.defaults,
        adapter_guidance=manifest.adapter_guidance,
        attention=any(layer.name.endswith(_ATTENTION) for layer in manifest.layers),
    )


def open_attention(bundle: ModelBundle, out: Path, *, library: bool = True) -> ModelBundle:
    """Return `bundle` written to `out` so that adapters may change CLIP's attention, too.

    Weights and so masks, adapters and defaults stay what they are; the graphs have q, k, v and
    out_proj of CLIP as overridable inputs besides.

    Args:
        bundle: Holds the weights of a CAT-Seg.
        out: Must not exist yet.
        library: Take its adapters along.

    Raises:
        BundleError: It holds no such weights, or `out` cannot be written.
    """
    require_free(out)
    model = load_network(bundle).requires_grad_(False).eval()
    parts = replace(parts_of(bundle, model, name=bundle.manifest.name), attention=True)

    def check(made: ModelBundle) -> None:
        compare_with_torch(made, model=model, navigator=None)
        for name in KEPT:
            if (bundle.root / name).is_file():
                shutil.copyfile(bundle.root / name, made.root / name)

    return write_bundle(out, parts, library=bundle.library if library else None, check=check)
