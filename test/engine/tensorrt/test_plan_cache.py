"""Plans on disk: the key tells them apart, nothing half written is ever read."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from semla_ros.engine.tensorrt.options import BuildOptions, ClassRange
from semla_ros.engine.tensorrt.plan_cache import Golden, PlanCache, default_folder
from semla_ros.engine.tensorrt.plan_key import PlanIdentity, Platform, graph_sha256
from semla_ros.errors import BundleError, EngineError

PLATFORM = Platform("10.13.3", "Orin", "8.7", 12)
IDENTITY = PlanIdentity("segmentation", "ab" * 32, PLATFORM, BuildOptions(ClassRange(1, 4, 9)))
GOLDEN = Golden("base", np.linspace(-1, 1, 77, dtype=np.float32) / 3, 5)
PLAN = bytes(range(256)) * 40


@pytest.fixture
def cache(tmp_path):
    return PlanCache(tmp_path / "plans")


def store(cache, identity=IDENTITY, content=PLAN):
    return cache.store(identity, content, refit=("a", "b"), goldens=(GOLDEN,))


OTHERS = {
    "graph": replace(IDENTITY, graph="navigator"),
    "graph content": replace(IDENTITY, graph_sha256="cd" * 32),
    **{
        f"platform {f.name}": replace(
            IDENTITY, platform=replace(PLATFORM, **{f.name: 13 if f.name == "driver" else "other"})
        )
        for f in fields(Platform)
    },
    **{
        f"options {name}": replace(IDENTITY, options=replace(IDENTITY.options, **{name: value}))
        for name, value in {
            "classes": ClassRange(1, 4, 10),
            "mode": "inputs",
            "precision": "fp32",
            "typing": "strong",
            "level": 2,
            "workspace_mib": 512,
            "tf32": True,
            "rank": 8,
        }.items()
    },
}


def test_the_options_above_are_all_there_are():
    named = {name.removeprefix("options ") for name in OTHERS if name.startswith("options ")}
    assert named == {f.name for f in fields(BuildOptions)}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_every_fact_changes_the_key(other, cache):
    assert other.key != IDENTITY.key
    store(cache)
    assert cache.load(other) is None


def test_equal_facts_have_equal_keys_in_every_process():
    assert replace(IDENTITY).key == IDENTITY.key
    assert len(IDENTITY.key) == 64
    assert PlanIdentity.from_facts(json.loads(json.dumps(IDENTITY.facts))) == IDENTITY


def test_a_stored_plan_comes_back_whole(cache):
    for plan in (store(cache), cache.load(IDENTITY)):
        assert plan.content == PLAN
        assert plan.record.refit == ("a", "b")
        (golden,) = plan.record.goldens
        np.testing.assert_array_equal(golden.sample, GOLDEN.sample)
        assert (golden.weights, golden.stride) == ("base", 5)
    assert cache.identities() == (IDENTITY,)
    assert sorted(p.suffix for p in cache.folder.iterdir()) == [".json", ".plan"]


def damage(cache, what):
    plan, sidecar = (cache.folder / f"{IDENTITY.key}.{end}" for end in ("plan", "json"))
    if what == "a bit flipped":
        plan.write_bytes(PLAN[:-1] + b"\0")
    elif what == "cut short":
        plan.write_bytes(PLAN[:-9])
    elif what == "no plan":
        plan.unlink()
    elif what == "no sidecar":
        sidecar.unlink()
    elif what == "sidecar no JSON":
        sidecar.write_text("{")
    elif what == "sidecar of another plan":
        data = json.loads(sidecar.read_text())
        data["facts"]["platform"]["gpu"] = "other"
        sidecar.write_text(json.dumps(data))
    elif what == "sidecar lacks goldens":
        data = json.loads(sidecar.read_text())
        del data["goldens"]
        sidecar.write_text(json.dumps(data))
    else:
        sidecar.write_text('"' + "x" * (65 * 2**20) + '"')


DAMAGES = (
    "a bit flipped",
    "cut short",
    "no plan",
    "no sidecar",
    "sidecar no JSON",
    "sidecar of another plan",
    "sidecar lacks goldens",
    "sidecar too large",
)


@pytest.mark.parametrize("what", DAMAGES)
def test_what_does_not_fit_is_not_believed_and_can_be_stored_again(cache, what):
    store(cache)
    damage(cache, what)
    assert cache.load(IDENTITY) is None
    store(cache)
    assert cache.load(IDENTITY).content == PLAN


def test_a_crash_while_writing_leaves_the_old_plan(cache, monkeypatch):
    store(cache)

    def crash(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(EngineError, match="no space left"):
        store(cache, content=b"new")
    monkeypatch.undo()
    assert cache.load(IDENTITY).content == PLAN
    assert not list(cache.folder.glob(".*"))


def test_a_crash_between_plan_and_sidecar_is_noticed(cache, monkeypatch):
    """The plan is replaced first: its sidecar is then that of the old one."""
    store(cache)
    calls = []
    real = os.fsync

    def crash_on_second(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError("power is gone")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", crash_on_second)
    with pytest.raises(EngineError, match="power"):
        store(cache, content=b"new")
    monkeypatch.undo()
    assert cache.load(IDENTITY) is None


def test_the_folder_is_bounded_and_the_longest_unused_go(tmp_path):
    cache = PlanCache(tmp_path, max_bytes=int(2.5 * len(PLAN)))
    names = [replace(IDENTITY, graph_sha256=str(i) * 64) for i in range(3)]
    for number, identity in enumerate(names[:2]):
        store(cache, identity)
        os.utime(tmp_path / f"{identity.key}.json", (number, number))
    assert cache.load(names[0]) is not None  # used now
    store(cache, names[2])
    assert cache.load(names[1]) is None
    assert {i.graph_sha256[0] for i in cache.identities()} == {"0", "2"}
    assert len(list(tmp_path.glob("*.plan"))) == 2


def test_what_crashes_left_goes_but_not_what_is_being_written(cache):
    cache.folder.mkdir(parents=True)
    old, young = [
        [cache.folder / f"{name}.plan", cache.folder / f".{name}.plan.77.tmp"]
        for name in ("old", "young")
    ]
    for path in old + young:
        path.write_bytes(PLAN)
    stuck = cache.folder / "stuck.plan"
    stuck.mkdir()
    for path in (*old, stuck):
        os.utime(path, (1.0, 1.0))
    store(cache)
    assert stuck.exists(), "what cannot be removed must not cost the plan that was built"
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)
    assert cache.load(IDENTITY) is not None


def test_a_plan_larger_than_the_bound_is_kept_alone(tmp_path):
    cache = PlanCache(tmp_path, max_bytes=10)
    store(cache)
    assert cache.load(IDENTITY) is not None


def test_the_newest_build_comes_first(cache):
    newer = replace(IDENTITY, graph_sha256="0" * 64)
    for age, identity in ((2, newer), (9, IDENTITY)):
        store(cache, identity)
        os.utime(cache.folder / f"{identity.key}.plan", (1000 - age, 1000 - age))
    cache.load(IDENTITY)
    assert cache.identities() == (newer, IDENTITY)


def test_sidecars_of_another_schema_are_left_alone(cache):
    store(cache)
    sidecar = cache.folder / f"{IDENTITY.key}.json"
    data = json.loads(sidecar.read_text())
    data["facts"]["schema"] = 999
    sidecar.write_text(json.dumps(data))
    assert cache.identities() == ()


def test_the_timing_cache_is_kept(cache):
    assert cache.timing() == b""
    cache.store_timing(bytearray(b"measured"))
    assert cache.timing() == b"measured"


def test_the_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "semla_ros" / "tensorrt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder().parts[-3:] == (".cache", "semla_ros", "tensorrt")


def test_the_digest_is_of_the_whole_graph(tmp_path):
    graph = tmp_path / "graph.onnx"
    with pytest.raises(BundleError, match=r"graph\.onnx"):
        graph_sha256(graph)
    seen = set()
    for content, data in ((b"a", None), (b"b", None), (b"b", b"x"), (b"b", b"y"), (b"a", b"y")):
        graph.write_bytes(content)
        if data is not None:
            (tmp_path / "graph.onnx.data").write_bytes(data)
        seen.add(graph_sha256(graph))
    assert len(seen) == 5


def test_a_plan_is_read_once_so_that_what_was_checked_is_what_is_used(cache, monkeypatch):
    read, whole = [], Path.open

    def counting(path, *args, **kwargs):
        read.append(path.suffix)
        return whole(path, *args, **kwargs)

    store(cache)
    monkeypatch.setattr(Path, "open", counting)
    assert cache.load(IDENTITY).content == PLAN
    assert read.count(".plan") == 1


def test_a_plan_that_another_process_removes_meanwhile_is_passed_over(cache, monkeypatch):
    store(cache)
    glob = Path.glob
    monkeypatch.setattr(
        Path, "glob", lambda path, pattern: [*glob(path, pattern), path / "gone.json"]
    )
    assert cache.identities() == (IDENTITY,)
    assert store(cache).content == PLAN
