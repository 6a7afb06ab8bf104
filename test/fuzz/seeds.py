"""Small whole files of every kind, made as the project and other programs make them."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

TEST = Path(__file__).parents[1]
MINISIGN = Path(__file__).parents[1] / "core" / "files" / "data" / "minisign"
_RNG = np.random.default_rng(3)
_PICTURE = _RNG.integers(0, 256, (20, 28, 3), dtype=np.uint8)


def _encoded(image: Any, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def jpegs(_: Path) -> Sequence[bytes]:
    plain = _encoded(_PICTURE, ".jpg")
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff + bytes(4)
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    return (
        plain,
        turned,
        _encoded(_PICTURE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        _encoded(_PICTURE[..., 0], ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    )


def pngs(_: Path) -> Sequence[bytes]:
    deep = _RNG.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    return _encoded(_PICTURE, ".png"), _encoded(_PICTURE[..., 0], ".png"), _encoded(deep, ".png")


def webps(_: Path) -> Sequence[bytes]:
    alpha = np.dstack([_PICTURE, _PICTURE[..., 0]])
    return (
        _encoded(_PICTURE, ".webp", cv2.IMWRITE_WEBP_QUALITY, 60),
        _encoded(alpha, ".webp", cv2.IMWRITE_WEBP_QUALITY, 60),
        _encoded(_PICTURE, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    )


def labels(folder: Path) -> Sequence[bytes]:
    ids = _RNG.integers(0, 20, (12, 10), dtype=np.uint8)
    return (*pngs(folder)[:2], _encoded(ids, ".png"), _encoded(ids.astype(np.uint16), ".png"))


@cache
def _small(folder: Path) -> Path:
    from small_bundle import small_bundle

    return small_bundle(folder / "small")


def _beside(folder: Path, name: str, *others: str) -> Sequence[bytes]:
    """Return the bundle's file `name`; `others` are put into the folder that is read."""
    bundle = _small(folder.parent / "made" if folder.name != "made" else folder)
    for other in others:
        shutil.copyfile(bundle / other, folder / other)
    return ((bundle / name).read_bytes(),)


def bundles(folder: Path) -> Sequence[bytes]:
    names = [f.name for f in _small(folder.parent / "made").iterdir() if f.is_file()]
    return _beside(folder, "bundle.yaml", *(n for n in names if n != "bundle.yaml"))


def weights(folder: Path) -> Sequence[bytes]:
    bundles(folder)
    return _beside(folder, "weights.safetensors", "bundle.yaml")


def graphs(folder: Path) -> Sequence[bytes]:
    return (*_beside(folder, "navigator.onnx"), *_beside(folder, "text_encoder.onnx"))


def statistics(folder: Path) -> Sequence[bytes]:
    from semla_ros.core.novelty import EmbeddingSample
    from semla_ros.library.statistics import DistanceQuantiles, DomainStatistics
    from semla_ros.prepare.adapters.write import write_statistics

    whole = DomainStatistics(
        np.ones(3, np.float32),
        count=9,
        covariance=np.eye(3),
        encoder="mean-colour",
        quantiles=DistanceQuantiles(np.array([0.5, 0.9]), np.array([1.0, 2.0])),
        shrinkage=0.1,
        sample=EmbeddingSample(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]), 4),
    )
    plain = write_statistics(folder, "fog", whole).read_bytes()
    packed = io.BytesIO()
    np.savez_compressed(packed, **np.load(io.BytesIO(plain)))
    return plain, packed.getvalue()


def prompts(folder: Path) -> Sequence[bytes]:
    from semla_ros.navigator.prompts import PromptEmbeddings, write_prompts

    table = np.eye(2, 3, dtype=np.float32)
    write_prompts(folder / "p.npz", PromptEmbeddings("e", "s:1", ("a", "a"), ("x", "y"), table))
    return ((folder / "p.npz").read_bytes(),)


def adapters(folder: Path) -> Sequence[bytes]:
    return _beside(folder, "library/fog/adapter_model.safetensors")


def settings(folder: Path) -> Sequence[bytes]:
    patterns = {
        "rank_pattern": {"image.fc": 2},
        "alpha_pattern": {"text.fc": 4},
        "use_rslora": True,
    }
    (plain,) = _beside(folder, "library/fog/adapter_config.json")
    return plain, json.dumps(json.loads(plain) | patterns).encode()


def seals(folder: Path) -> Sequence[bytes]:
    from semla_ros.prepare.adapters.seals import write_seal

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes(_beside(folder, f"library/fog/{name}")[0])
    write_seal(folder)
    return ((folder / "SHA256SUMS").read_bytes(),)


def captions(_: Path) -> Sequence[bytes]:
    return ("- a street in fog\n- ein Weg im Nebel – früh\n".encode(),)


def signatures(_: Path) -> Sequence[bytes]:
    return tuple((MINISIGN / f).read_bytes() for f in ("content.txt.minisig", "legacy.minisig"))


def keys(_: Path) -> Sequence[bytes]:
    return tuple(file.read_bytes() for file in sorted(MINISIGN.glob("*.pub")))


def tokenizers(folder: Path) -> Sequence[bytes]:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], unk_token="a"))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return (*_beside(folder, "tokenizer.json"), made.to_str().encode())


def classes(_: Path) -> Sequence[bytes]:
    return (
        b"- road\n- car\n- sky\n",
        b"classes:\n- {id: 0, name: road, rgb: [9, 6, 1]}\n- {id: 1, name: car, rgb: [0, 0, 9]}\n",
    )


def class_names(_: Path) -> Sequence[bytes]:
    return b"\xef\xbb\xbfroad\r\ncar\r\n\r\nsky", b"road\ncar, vehicle\n"


def label_maps(_: Path) -> Sequence[bytes]:
    config = TEST.parent / "config" / "label_maps"
    return tuple(f.read_bytes() for f in sorted(config.glob("*.yaml")) if f.stem != "synonyms")


def recipes(_: Path) -> Sequence[bytes]:
    return tuple(f.read_bytes() for f in sorted((TEST.parent / "config/recipes").glob("*.yaml")))


def prompt_sets(_: Path) -> Sequence[bytes]:
    return (b"templates: ['a photo of {}']\ngroups:\n  weather: [rain, fog]\n  place: [city]\n",)


def cards(_: Path) -> Sequence[bytes]:
    return (b"---\nlicense: apache-2.0\ntags:\n- a\n---\n# A card\n", b"Apache License\n")


def domains(_: Path) -> Sequence[bytes]:
    return (
        b"stamp_ns,domain,recording\n0,fog,drive\n100,rain,\n",
        b'name,domain\na.png,fog\n"b,c.png",rain\n',
    )


def _conftest(folder: str) -> Any:
    spec = importlib.util.spec_from_file_location("seeds_of_tests", TEST / folder / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(folder: Path) -> Sequence[bytes]:
    from semla_ros.evaluation.result import save_result

    save_result(_conftest("evaluation").make_result(), folder / "r.json")
    return ((folder / "r.json").read_bytes(),)


def studies(folder: Path) -> Sequence[bytes]:
    sys.path.insert(0, str(TEST / "evaluation" / "study"))
    from studies import fake_study

    from semla_ros.evaluation.study.store import save_study

    save_study(fake_study(), folder)
    return ((folder / "results.json").read_bytes(),)


def study_frames(folder: Path) -> Sequence[bytes]:
    studies(folder)
    return ((folder / "frames.npz").read_bytes(),)


def _saved(folder: Path, *, new: bool) -> Sequence[bytes]:
    import torch

    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.half)}
    extra = {"lr": np.float64(0.1), "at": np.ones(3)}
    contents = []
    for value in (state, {"model": state, "scheduler": extra, "iteration": 5}):
        torch.save(value, folder / "made.pth", _use_new_zipfile_serialization=new)
        contents.append((folder / "made.pth").read_bytes())
    return contents


def checkpoints(folder: Path) -> Sequence[bytes]:
    return _saved(folder, new=True)


def old_checkpoints(folder: Path) -> Sequence[bytes]:
    return _saved(folder, new=False)


def mcaps(folder: Path) -> Sequence[bytes]:
    from recordings import write_camera, write_storage
    from rosbags.rosbag2 import StoragePlugin

    ours = write_camera(folder / "ours.mcap", count=3, height=6, width=8).read_bytes()
    theirs = write_storage(folder / "theirs", StoragePlugin.MCAP)
    return ours, next(theirs.glob("*.mcap")).read_bytes(), _unpacked(ours)


def _unpacked(mcap: bytes) -> bytes:
    """Return an mcap with its chunks unpacked, without an index: what is changed shows."""
    from semla_ros.data.bags.mcap_records import (
        CHUNK,
        DATA_END,
        MAGIC,
        RECORD,
        chunk_content,
        records,
    )

    parts = [MAGIC]
    for opcode, data in records(memoryview(mcap)[len(MAGIC) :]):
        if opcode == CHUNK:
            parts.append(bytes(chunk_content(data)))
        elif opcode < CHUNK:
            parts.append(RECORD.pack(opcode, len(data)) + bytes(data))
        elif opcode == DATA_END:
            break
    return b"".join(parts)


def packed(folder: Path) -> Sequence[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return tuple(zstd.compress(content) for content in mcaps(folder))


def sqlites(folder: Path) -> Sequence[bytes]:
    from recordings import write_storage
    from rosbags.rosbag2 import StoragePlugin

    made = write_storage(folder / "made", StoragePlugin.SQLITE3)
    return (next(made.glob("*.db3")).read_bytes(),)


def wals(folder: Path) -> Sequence[bytes]:
    file = folder / "x.db3"
    file.write_bytes(sqlites(folder)[0])
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(
        "INSERT INTO messages(topic_id, timestamp, data) SELECT 1, 9, data FROM messages"
    )
    database.commit()
    content = (folder / "x.db3-wal").read_bytes()
    before = file.read_bytes()
    database.close()
    file.write_bytes(before)
    return (content,)


def ros1_bags(folder: Path) -> Sequence[bytes]:
    from recordings import picture
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    from semla_ros.data.bags.messages import IMAGE, image_fields

    store, contents = get_typestore(Stores.ROS1_NOETIC), []
    for number, packing in enumerate(
        (None, Writer.CompressionFormat.BZ2, Writer.CompressionFormat.LZ4)
    ):
        writer = Writer(folder / f"{number}.bag")
        if packing is not None:
            writer.set_compression(packing)
        with writer as bag:
            connection = bag.add_connection("/camera/image_raw", IMAGE, typestore=store)
            for stamp in range(3):
                fields = image_fields(picture(stamp, 6, 8), stamp_ns=stamp + 1, frame_id="c")
                message = _ros1_message(store, fields)
                bag.write(connection, stamp, store.serialize_ros1(message, IMAGE))
        contents.append((folder / f"{number}.bag").read_bytes())
    return contents


def _ros1_message(store: Any, fields: dict[str, Any]) -> Any:
    header, kinds = fields["header"], store.types
    stamp = kinds["builtin_interfaces/msg/Time"](**header["stamp"])
    head = kinds["std_msgs/msg/Header"](0, stamp, header["frame_id"])
    rest = {k: v for k, v in fields.items() if k != "header"}
    return kinds["sensor_msgs/msg/Image"](head, **rest)


def metadata(folder: Path) -> Sequence[bytes]:
    from recordings import write_storage
    from rosbags.rosbag2 import StoragePlugin

    made = write_storage(folder / "made", StoragePlugin.MCAP)
    for file in made.glob("*.mcap"):
        shutil.copyfile(file, folder / file.name)
    content = (made / "metadata.yaml").read_bytes()
    shutil.rmtree(made)
    return (content,)


def messages(_: Path) -> Sequence[bytes]:
    from recordings import picture, ros2_message
    from rosbags.typesys import Stores, get_typestore

    from semla_ros.data.bags.messages import IMAGE, image_fields

    store = get_typestore(Stores.LATEST)
    fields = image_fields(picture(1, 6, 8), stamp_ns=1, frame_id="c")
    return (bytes(store.serialize_cdr(ros2_message(store, fields), IMAGE)),)


def stores(folder: Path) -> Sequence[bytes]:
    from semla_ros.prepare.curation.embedding_store import Block, LeftOut, open_store

    with open_store(folder / "made", key="k", dim=3) as store:
        store.append(Block(0, np.ones((2, 3), np.float32), (LeftOut("a.png", "damaged"),)))
    return ((folder / "made" / "00000000.npz").read_bytes(),)
