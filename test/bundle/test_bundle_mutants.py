"""Whatever stands in `bundle.yaml`: refused at the door with its key named, or it serves."""

import contextlib
import copy
import datetime
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from semla_ros.bundle import MANIFEST, open_bundle
from semla_ros.bundle.manifest import manifest_from_dict
from semla_ros.bundle.manifest_checks import RESIZES
from semla_ros.core.config import Config
from semla_ros.core.errors import BundleError, SemlaError
from semla_ros.core.types import Frame
from semla_ros.navigator.preprocess import RESIZES as KNOWN_RESIZES
from semla_ros.pipeline.assembly import build_pipeline

DEMO = Path(__file__).parents[2] / "models" / "demo"
WRONG = {
    "none": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "seven": 7,
    "half": 0.5,
    "huge": 10**12,
    "nan": math.nan,
    "infinite": math.inf,
    "empty": "",
    "blank": " ",
    "text": "odd",
    "long": "x" * 300,
    "unprintable": "a\nb\x1b[2J",
    "surrogate": "a\ud800b",
    "list": [],
    "nested": [[1, "a"], {}],
    "mapping": {"odd": 1},
    "date": datetime.date(2001, 1, 1),
    "bytes": b"\xff\xfe",
}


def leaves(value, path=()):
    """Yield the path of every value; of long lists those of the first and the last item."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list) and value:
        for index in {0, len(value) - 1}:
            yield from leaves(value[index], (*path, index))


def put(data, path, value):
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


@pytest.fixture(scope="module")
def demo():
    return yaml.safe_load((DEMO / MANIFEST).read_text())


@pytest.fixture
def linked(tmp_path):
    """Return a folder with the demo bundle's files, whose manifest may be another."""
    for each in DEMO.iterdir():
        (tmp_path / each.name).symlink_to(each)
    (tmp_path / MANIFEST).unlink()
    return tmp_path


def refusal(data):
    """Return why the manifest does not pass, empty where it does."""
    try:
        manifest_from_dict(data)
    except (ValueError, SemlaError) as error:
        return str(error)
    return ""


def test_every_wrong_value_is_refused_at_the_door_or_serves(demo, linked):
    """Of every kind of entry one value that passes is tried with the whole pipeline."""
    served = set()
    for path in list(leaves(demo))[1:]:
        for value in WRONG.values():
            data = copy.deepcopy(demo)
            put(data, path, value)
            kind = tuple(key for key in path if isinstance(key, str))
            why = refusal(data)
            if why:
                assert re.fullmatch(r".*expected.{1,1500}", why), (path, value, why)
            elif kind not in served:
                served.add(kind)
                (linked / MANIFEST).write_text(yaml.dump(data))
                serve(linked)
    assert ("navigator", "size") in served
    assert ("layers", "initializer") in served


def serve(root):
    """Open the whole pipeline and segment a frame; only errors of our own may come of it."""
    frame = Frame(10**9, "camera", np.full((48, 64, 3), 90, np.uint8))
    config = Config(bundle=str(root), engine="onnx", adaptation="inline")
    with contextlib.suppress(SemlaError), build_pipeline(config) as pipeline:
        pipeline.step(frame)


REFUSED = {
    "defaults.top_k": (True, "a whole number from 1 to 1000, got True"),
    "segmentation.size": (10**12, "a whole number from 1 to 8192, got 1000000000000"),
    "defaults.temperature": (math.nan, "a number above 0 to 1e+06, got nan"),
    "navigator.resize": ("odd", "one of center_crop, eval_crop, letterbox, squash, got 'odd'"),
    "navigator.mean": ([0.1, 0.2], "a list of 3 items, got [0.1, 0.2]"),
    "text.template": ("a photo", "text with one '{}', got 'a photo'"),
    "name": ("x" * 300, "printable text of at most 255 bytes"),
    "layers": ([], "a list of 1 to 100000 items, got []"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_key_expected_and_got_are_named(demo, linked, key):
    value, said = REFUSED[key]
    data = copy.deepcopy(demo)
    put(data, key.split("."), value)
    (linked / MANIFEST).write_text(yaml.dump(data))
    with pytest.raises(BundleError, match=re.escape(f"{key}: expected {said}")):
        open_bundle(linked, verify=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["layers"].append(d["layers"][0]), "layers: expected each name once"),
        (lambda d: d["classes"].append(d["classes"][0]), "classes[9].id: expected 9, as"),
        (lambda d: d["classes"][1].update(name="Road", id=1), "expected distinct class names"),
        (lambda d: d["files"].pop("weights.safetensors"), "to name 'weights.safetensors'"),
        (lambda d: d["files"].pop("navigator.onnx"), "to name 'navigator.onnx'"),
        (lambda d: d["text"].update(odd=1), "text: expected entries template, context_length"),
        (lambda d: d.update(format=True), "expected format 1, got True"),
        (lambda d: d["navigator"].pop("dim"), "navigator.dim: expected a value, got none"),
    ],
)
def test_what_is_wrong_as_a_whole_is_refused(demo, linked, change, said):
    data = copy.deepcopy(demo)
    change(data)
    (linked / MANIFEST).write_text(yaml.dump(data))
    with pytest.raises(BundleError, match=re.escape(said)):
        open_bundle(linked, verify=False)


def test_the_resizes_are_those_that_there_are():
    assert tuple(KNOWN_RESIZES) == RESIZES
