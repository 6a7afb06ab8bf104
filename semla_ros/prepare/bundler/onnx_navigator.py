"""An image encoder in an ONNX file as the navigator, with the preprocessing it was trained for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from semla_ros.bundle import NavigatorSpec, file_sha256
from semla_ros.core.errors import TrainingError
from semla_ros.navigator.preprocess import CENTER_CROP
from semla_ros.prepare.bundler.image_tower import with_resize
from semla_ros.prepare.bundler.navigator_parts import NavigatorParts
from semla_ros.prepare.bundler.reference_images import reference_images
from semla_ros.prepare.bundler.subgraph import IMAGE, answers, extracted, rename, value_of

ONNX = "onnx:"
MAX_BYTES = 1_900_000_000
_OUTPUT = "embedding"

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """What an ONNX file does not say of its input.

    Attributes:
        size: Side of the square image; None: as the graph fixes it.
        mean, std: Per channel, of RGB in 0..1; needed.
    """

    size: int | None = None
    mean: Triple | None = None
    std: Triple | None = None


def load_onnx(name: str, given: OnnxInput, *, resize: str | None) -> NavigatorParts:
    """Return the encoder in a file; its first output is the embedding.

    Args:
        name: `onnx:FILE`; one file, with its weights inside.
        given: Size and normalisation.
        resize: One of the navigator's `RESIZES`; None: `center_crop`.

    Raises:
        TrainingError: No such file, no ONNX, not one image in and a vector out, or a size, mean or
            standard deviation is missing or impossible.
    """
    path = Path(name.removeprefix(ONNX))
    if given.mean is None or given.std is None or min(given.std) <= 0:
        raise TrainingError(
            f"navigator {path.name!r}: expected --navigator-mean and --navigator-std (above 0) as "
            "it was trained with, three numbers for RGB in 0..1: ImageNet's are 0.485,0.456,0.406 "
            "and 0.229,0.224,0.225"
        )
    proto = _read(path)
    side = _open_ends(proto, path, given.size)
    facts = f"{file_sha256(path)} {side} {given.mean} {given.std}"
    identity = f"onnx/{path.stem}:{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    chosen = resize or CENTER_CROP
    spec = NavigatorSpec(
        identity=with_resize(identity, chosen, own=CENTER_CROP),
        size=side,
        resize=chosen,
        mean=given.mean,
        std=given.std,
        dim=1,
    )
    ((answer,),) = answers(proto, [next(reference_images(spec))], [_OUTPUT])
    if answer.size < 1 or answer.shape[0] != 1 or answer.size != max(answer.shape):
        raise TrainingError(
            f"navigator {path.name!r}: expected a first output of one vector (1, D), got "
            f"{answer.shape!r}: export the network up to its pooled features"
        )
    if answer.ndim != 2:
        rename(proto.graph, _OUTPUT, f"{_OUTPUT}::map")
        proto.graph.node.append(onnx.helper.make_node("Flatten", [f"{_OUTPUT}::map"], [_OUTPUT]))
        proto.graph.output[0].CopyFrom(value_of(proto, _OUTPUT, answer.size))
    return NavigatorParts(proto, replace(spec, dim=int(answer.size)))


def _read(path: Path) -> onnx.ModelProto:
    """Return the graph, sound and in one file."""
    if not path.is_file():
        raise TrainingError(f"expected an ONNX file, found none at {str(path)!r}")
    if path.stat().st_size > MAX_BYTES:
        raise TrainingError(f"navigator {path.name!r}: expected at most {MAX_BYTES} bytes")
    try:
        proto = onnx.load(str(path), load_external_data=False)
        outside = [each.name for each in proto.graph.initializer if each.external_data]
        if not outside:
            onnx.checker.check_model(proto)
    except Exception as error:  # protobuf and the checker have errors of several kinds
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"navigator {path.name!r} is no sound ONNX graph ({reason}): export it again"
        ) from error
    if outside:
        raise TrainingError(
            f"navigator {path.name!r}: expected its weights inside, got {len(outside)} in other "
            "files: save it as one file"
        )
    return proto


def _open_ends(proto: onnx.ModelProto, path: Path, asked: int | None) -> int:
    """Name input and output as the robot reads them, `image` and `embedding`; return the side."""
    graph = proto.graph
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    shape = [_length(each) for each in inputs[0].type.tensor_type.shape.dim] if inputs else []
    is_float = bool(inputs) and inputs[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    if len(inputs) != 1 or not is_float or len(shape) != 4 or shape[1] not in (3, None):
        raise TrainingError(
            f"navigator {path.name!r}: expected one input, an image (1, 3, H, W) of float32, got "
            f"{[(each.name, shape) for each in inputs][:3]!r}: export it for images"
        )
    side = _side(path, shape[2:], asked)
    ends = ((inputs[0].name, IMAGE), (graph.output[0].name, _OUTPUT))
    for name, wanted in ends:
        rename(graph, name, f"{wanted}::end")
    for _, wanted in ends:
        rename(graph, wanted, f"{wanted}::other")
        rename(graph, f"{wanted}::end", wanted)
    image = _image(inputs[0], side)
    del graph.input[:]
    graph.input.append(image)
    proto.CopyFrom(extracted(proto, graph.node, [graph.output[0]]))
    return side


def _side(path: Path, fixed: Sequence[int | None], asked: int | None) -> int:
    known = {each for each in (*fixed, asked) if each is not None}
    if len(known) != 1 or min(known) < 1:
        got = f"{tuple(fixed)!r} in the graph" + (f" and {asked}" if asked else "")
        raise TrainingError(
            f"navigator {path.name!r}: expected one side of a square image, got {got}: give "
            "--navigator-size as it was trained with"
        )
    return known.pop()


def _length(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return int(dim.dim_value) or None


def _image(found: onnx.ValueInfoProto, side: int) -> onnx.ValueInfoProto:
    """Return the input with its sides fixed; the batch stays as it is."""
    image = onnx.ValueInfoProto()
    image.CopyFrom(found)
    for place, length in ((1, 3), (2, side), (3, side)):
        image.type.tensor_type.shape.dim[place].dim_value = length
    return image
