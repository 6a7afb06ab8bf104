"""Whether a segmentation graph takes and gives what the bundle's manifest says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semla_ros.bundle import Manifest
from semla_ros.core.errors import BundleError


@dataclass(frozen=True, slots=True)
class GraphEnds:
    """Both ends of a graph, whichever runtime has read it.

    Attributes:
        inputs: Name -> shape; a side that may be any is no integer.
        outputs: Names.
    """

    inputs: Mapping[str, Sequence[object]]
    outputs: tuple[str, ...]

    def checked(self, manifest: Manifest) -> int:
        """Return the width of text features, 0 where the graph takes none.

        Raises:
            BundleError: An input or output is missing or has another shape.
        """
        wanted = ("image", "text_features") if manifest.text else ("image",)
        if any(name not in self.inputs for name in wanted) or "logits" not in self.outputs:
            raise BundleError(
                f"segmentation.onnx: expected inputs {wanted!r} and output 'logits', got "
                f"{sorted(self.inputs)!r} and {sorted(self.outputs)!r}: rebuild the bundle"
            )
        if manifest.shared_dim and "embedding" not in self.outputs:
            raise BundleError(
                "segmentation.onnx: expected an output 'embedding' as the manifest's navigator is "
                f"shared, got {sorted(self.outputs)!r}: rebuild the bundle"
            )
        image, size = list(self.inputs["image"]), [3, *manifest.segmentation.shape]
        fits = len(image) == 4 and all(
            got == side for got, side in zip(image[1:], size, strict=True) if isinstance(got, int)
        )
        features = list(self.inputs.get("text_features", ())) if manifest.text else [None, 0]
        if not fits or len(features) != 2 or not isinstance(features[1], int):
            told = f" and text features (T, D) with fixed D, got {image!r} and {features!r}"
            raise BundleError(
                f"segmentation.onnx: expected an image (1, {', '.join(map(str, size))})"
                f"{told if manifest.text else f', got {image!r}'}: rebuild the bundle"
            )
        return features[1]
