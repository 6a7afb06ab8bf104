"""Every reader of files from elsewhere, each with small whole files to begin from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from fuzz import loop_readers as loop
from fuzz import seeds

MAX_PIXELS = 100_000


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        file: Name of the file that it reads, in a folder of its own.
        seeds: Makes contents of whole files, given an empty folder.
        read: Reads the file; whatever it raises beside SemlaError is a finding.
        words: What the format is made of.
        dump: Writes a document as the file has it; None for formats that are no documents.
    """

    file: str
    seeds: Callable[[Path], Sequence[bytes]]
    read: Callable[[Path], object]
    words: Sequence[bytes] = ()
    dump: Callable[[Any], bytes] | None = None

    def documents(self, contents: Sequence[bytes]) -> list[Any]:
        """Return the seeds as values, where the format is one of documents."""
        return [yaml.safe_load(content) for content in contents]


def _yaml(document: Any) -> bytes:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _image(path: Path) -> object:
    from semla_ros.core.files.image_file import read_image

    return read_image(path, max_pixels=MAX_PIXELS)


def _label(path: Path) -> object:
    from semla_ros.core.files.label_image import read_labels

    return read_labels(path, max_pixels=MAX_PIXELS)


def _statistics(path: Path) -> object:
    from semla_ros.library.statistics import read_statistics

    return read_statistics(path.parent, "fog")


def _prompts(path: Path) -> object:
    from semla_ros.navigator.prompts import read_prompts

    return read_prompts(path)


def _tensors(path: Path) -> object:
    from semla_ros.library.tensor_file import read_pairs, read_shapes

    read_shapes(path, "x")
    return read_pairs(path, "x", seal=None)


def _settings(path: Path) -> object:
    from semla_ros.library.adapter_config import read_settings

    return read_settings(path.parent, seal=None)


def _seal(path: Path) -> object:
    from semla_ros.library.seal import read_seal

    return read_seal(path.parent)


def _signature(path: Path) -> object:
    from semla_ros.core.errors import BundleError
    from semla_ros.core.files.signature import read_trusted_keys

    keys = read_trusted_keys(seeds.MINISIGN / "fleet.pub")
    content = (seeds.MINISIGN / "content.txt").read_bytes()
    return keys.verify(content, path.read_bytes(), where="x", error=BundleError)


def _captions(path: Path) -> object:
    from semla_ros.library.captions import read_captions

    return read_captions(path.parent)


def _key(path: Path) -> object:
    from semla_ros.core.files.signature import read_trusted_keys

    return read_trusted_keys(path)


def _bundle(path: Path) -> object:
    from semla_ros.bundle import open_bundle

    return open_bundle(path.parent, verify=False)


def _weights(path: Path) -> object:
    from semla_ros.bundle import open_bundle
    from semla_ros.bundle.base_weights import BaseWeights

    return BaseWeights.open(open_bundle(path.parent, verify=False))


def _graph(path: Path) -> object:
    from semla_ros.bundle.onnx_session import open_session

    return open_session(path, threads=1)


def _tokenizer(path: Path) -> object:
    from semla_ros.bundle.tokenizer_file import encode_prompts, open_tokenizer

    return encode_prompts(open_tokenizer(path), ["a photo of a Fußgängerüberweg, 2"])


def _classes(path: Path) -> object:
    from semla_ros.data.labels.class_lists import read_classes

    return read_classes(str(path))


def _label_map(path: Path) -> object:
    from semla_ros.data.labels.label_map import read_label_map

    return read_label_map(str(path))


def _recipe(path: Path) -> object:
    from semla_ros.prepare.training.recipe import read_recipe

    return read_recipe(str(path), None, kind="adapter")


def _prompt_set(path: Path) -> object:
    from semla_ros.prepare.bundler.prompt_sets import read_prompt_set

    return read_prompt_set(str(path))


def _licence(path: Path) -> object:
    from semla_ros.prepare.curation.licence import stated_licence

    return stated_licence(path.parent)


def _domains(path: Path) -> object:
    from semla_ros.data.labels.domains import read_domains

    return read_domains(path, recording="drive")


def _result(path: Path) -> object:
    from semla_ros.evaluation.result import load_result

    return load_result(path).summary()


def _study(path: Path) -> object:
    from semla_ros.evaluation.study.store import load_study

    return load_study(path.parent)


def _checkpoint(path: Path) -> object:
    from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint

    return read_checkpoint(path)


def _frames(path: Path) -> object:
    from semla_ros.data.bags.reader import read_frames

    return list(read_frames(path, max_pixels=MAX_PIXELS, on_note=lambda _: None))


def _folder_frames(path: Path) -> object:
    return _frames(path.parent)


def _labels(path: Path) -> object:
    from semla_ros.data.bags.labels import read_labels

    return list(
        read_labels(path, "/camera/image_raw", max_pixels=MAX_PIXELS, on_note=lambda _: None)
    )


def _message(path: Path) -> object:
    from semla_ros.core.files.image_codec import decode_image
    from semla_ros.data.bags.image_messages import decoded
    from semla_ros.data.bags.topics import sound_stamp_ns

    message = decoded(path.read_bytes(), "sensor_msgs/msg/Image")
    sound_stamp_ns(message)
    return decode_image(message, max_pixels=MAX_PIXELS)


def _store(path: Path) -> object:
    from semla_ros.prepare.curation.embedding_store import open_store

    with open_store(path.parent, key="k", dim=3) as store:
        return list(store.blocks())


_PNG = tuple(b"IHDR PLTE IDAT IEND tRNS iCCP zTXt eXIf acTL fcTL sBIT".split())
_JPEG = (
    *(bytes((0xFF, m)) for m in (0x00, 0xC0, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDC, 0xDD, 0xE1)),
    bytes.fromhex("ffc0001108 7d00 7d00 03 011100 021101 031101"),
)
_YAML = (b"&a ", b"*a", b"<<: *a\n", b"!!", b"? ", b"- ", b"[", b"{", b": ", b"\n", b"1:1:1", b"~")
_JSON = (b"[", b"{", b'"', b"1e999", b"-", b"NaN", b"null", b"\\u0000", b"\\ud800", b",", b"}")
_NPY = (b"'descr': 'O'", b"(", b"True", b"99999999999", b"PK\x03\x04", b"PK\x01\x02", b"<f8", b"'")
_MCAP = tuple(bytes((op,)) + b"\x10" + bytes(7) for op in range(1, 16))
_PICKLE = (b"R", b"b", b"Q", b"\x85", b"\x86", b"(", b"t", b"q\x00", b"h\x00", b"cos\nsystem\n")

READERS: Mapping[str, Reader] = {
    "jpeg": Reader("x.jpg", seeds.jpegs, _image, _JPEG),
    "png": Reader("x.png", seeds.pngs, _image, _PNG),
    "webp": Reader("x.webp", seeds.webps, _image, (b"VP8X", b"VP8 ", b"VP8L", b"EXIF", b"ANIM")),
    "label": Reader("x.png", seeds.labels, _label, _PNG),
    "statistics": Reader("fog_statistics.npz", seeds.statistics, _statistics, _NPY),
    "prompts": Reader("navigator_prompts.npz", seeds.prompts, _prompts, _NPY),
    "adapter": Reader("adapter_model.safetensors", seeds.adapters, _tensors, _JSON),
    "adapter_config": Reader("adapter_config.json", seeds.settings, _settings, _JSON, _json),
    "seal": Reader("SHA256SUMS", seeds.seals, _seal, (b"  ", b"\n", b"../", b"\x00")),
    "captions": Reader("captions.yaml", seeds.captions, _captions, _YAML, _yaml),
    "signature": Reader("x.minisig", seeds.signatures, _signature, (b"\n", b"trusted comment: ")),
    "key": Reader("x.pub", seeds.keys, _key, (b"\n", b"untrusted comment: ")),
    "bundle": Reader("bundle.yaml", seeds.bundles, _bundle, _YAML, _yaml),
    "weights": Reader("weights.safetensors", seeds.weights, _weights, _JSON),
    "graph": Reader("navigator.onnx", seeds.graphs, _graph),
    "tokenizer": Reader("tokenizer.json", seeds.tokenizers, _tokenizer, _JSON, _json),
    "classes": Reader("classes.yaml", seeds.classes, _classes, _YAML, _yaml),
    "class_names": Reader("classes.txt", seeds.class_names, _classes),
    "label_map": Reader("map.yaml", seeds.label_maps, _label_map, _YAML, _yaml),
    "recipe": Reader("recipe.yaml", seeds.recipes, _recipe, _YAML, _yaml),
    "prompt_set": Reader("prompts.yaml", seeds.prompt_sets, _prompt_set, _YAML, _yaml),
    "licence": Reader("README.md", seeds.cards, _licence, _YAML),
    "domains": Reader("domains.csv", seeds.domains, _domains, (b'"', b",", b"\n", b"\r", b"\x00")),
    "result": Reader("results.json", seeds.results, _result, _JSON, _json),
    "study": Reader("results.json", seeds.studies, _study, _JSON, _json),
    "study_frames": Reader("frames.npz", seeds.study_frames, _study, _NPY),
    "checkpoint": Reader("x.pth", seeds.checkpoints, _checkpoint, _PICKLE),
    "old_checkpoint": Reader("x.pth", seeds.old_checkpoints, _checkpoint, _PICKLE),
    "mcap": Reader("x.mcap", seeds.mcaps, _frames, _MCAP),
    "mcap_labels": Reader("x.mcap", seeds.mcaps, _labels, _MCAP),
    "packed": Reader("x.mcap.zstd", seeds.packed, _frames),
    "sqlite": Reader("x.db3", seeds.sqlites, _frames, (b"CREATE VIEW", b"messages", b"\x0d\x00")),
    "wal": Reader("x.db3-wal", seeds.wals, lambda p: _frames(p.with_name("x.db3"))),
    "ros1": Reader("x.bag", seeds.ros1_bags, _frames, (b"op=\x05", b"bz2", b"lz4", b"count=")),
    "metadata": Reader("metadata.yaml", seeds.metadata, _folder_frames, _YAML),
    "message": Reader("x.cdr", seeds.messages, _message, (b"rgb16", b"mono8", b"bayer_rggb8")),
    "capture": Reader(f"{1:019d}.json", loop.records, loop.read_record, _JSON, _json),
    "cvat": Reader("x.zip", loop.cvat_zips, loop.read_cvat, (*_PNG, b"PK\x01\x02", b":0,0,0::")),
    "label_studio": Reader(
        "x.json", loop.label_studio_exports, loop.read_label_studio, _JSON, _json
    ),
    "coco": Reader("x.json", loop.cocos, loop.read_coco, _JSON, _json),
    "label_set": Reader("set.json", loop.label_sets, loop.read_set, _JSON, _json),
    "library_state": Reader("000001.json", loop.histories, loop.read_history, _JSON, _json),
    "embedding_store": Reader("00000000.npz", seeds.stores, _store, _NPY),
}
