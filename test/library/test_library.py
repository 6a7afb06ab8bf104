"""The library folder as a snapshot: usable adapters serve, the others are told apart."""

import os
import shutil
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.library import unchanged
from semla_ros.library.captions import read_captions
from semla_ros.library.seal import TENSOR_FILE
from semla_ros.library.statistics import DomainStatistics, statistics_path
from semla_ros.library.storage import read_adapter
from semla_ros.prepare.adapters.captioning import write_captions
from semla_ros.prepare.adapters.changes import add_adapter, remove_adapter, rename_adapter
from semla_ros.prepare.adapters.write import write_statistics


def hidden(root):
    return [p.name for p in root.iterdir() if p.name.startswith(".")]


def test_names_are_sorted_and_centroids_in_their_order(root, open_library):
    library = open_library(root)
    assert library.names == ("fog", "night", "rain")
    assert library.centroids.dtype == np.float64
    assert library.centroids.shape == (3, 5)
    for row, name in zip(library.centroids, library.names, strict=True):
        np.testing.assert_array_equal(row, library.statistics[name].centroid)
    assert not library.problems
    assert not library.centroids.flags.writeable


def test_get_returns_the_adapter(root, open_library, make_adapter):
    layer = open_library(root).get("fog").layers["head.attn.q"]
    np.testing.assert_array_equal(layer.lora_a, make_adapter(seed=1).layers["head.attn.q"].lora_a)


def test_an_unknown_name_is_refused_with_the_known_ones(root, open_library):
    with pytest.raises(AdapterError, match=r"'snow'.*'fog', 'night', 'rain'"):
        open_library(root).get("snow")


def test_no_folder_is_refused(tmp_path, open_library):
    with pytest.raises(LibraryError, match="create it"):
        open_library(tmp_path / "nowhere")


def test_an_empty_library_opens(tmp_path, open_library):
    library = open_library(tmp_path)
    assert library.names == ()
    assert library.centroids.shape == (0, 5)


def test_files_and_hidden_folders_are_no_adapters(root, open_library):
    (root / "README.md").write_text("adapters")
    (root / ".staging-x").mkdir()
    library = open_library(root)
    assert library.names == ("fog", "night", "rain")
    assert not library.problems


def break_statistics(folder):
    statistics_path(folder, "fog").unlink()


def break_encoder(folder):
    other = DomainStatistics(np.ones(5, np.float32), encoder="dino")
    write_statistics(folder, "fog", other)


def break_dim(folder):
    write_statistics(folder, "fog", DomainStatistics(np.ones(7, np.float32)))


def break_tensors(folder):
    (folder / TENSOR_FILE).write_bytes(b"not safetensors")


PROBLEMS = {
    "found none": break_statistics,
    "got 'dino'": break_encoder,
    "length 5, got 7": break_dim,
    "damaged or truncated": break_tensors,
}


@pytest.mark.parametrize("reason", PROBLEMS)
def test_an_unusable_adapter_is_a_problem_and_the_others_serve(root, open_library, reason):
    PROBLEMS[reason](root / "fog")
    library = open_library(root)
    assert library.names == ("night", "rain")
    assert reason in library.problems["fog"]
    assert library.centroids.shape == (2, 5)
    with pytest.raises(AdapterError, match=r"'fog' cannot serve"):
        library.get("fog")
    assert library.get("rain").name == "rain"


def test_wrong_base_and_a_bad_folder_name_are_problems(root, open_library, store, edit_config):
    edit_config(root / "fog", base_model_name_or_path="other")
    store(root, "night").rename(root / "night.v2")
    problems = open_library(root).problems
    assert "got 'other'" in problems["fog"]
    assert "rename the folder" in problems["night.v2"]


def test_a_folder_that_the_system_cannot_read_is_a_problem_and_the_others_serve(
    root, open_library, store
):
    """Its name alone is allowed, its statistics' name is longer than the file system takes."""
    name = "\U0001d49c" * 61
    store(root, "snow").rename(root / name)
    library = open_library(root)
    assert library.names == ("fog", "night", "rain")
    assert "cannot be read" in library.problems[name]
    with pytest.raises(AdapterError, match="cannot be read"):
        read_adapter(root / name)


def test_inert_qkv_tensors_are_skipped_and_live_ones_refused(root, open_library):
    path = root / "fog" / TENSOR_FILE
    key = "base_model.model.clip.blocks.0.attn.q_proj.lora_{}.weight"
    tensors = {
        **load_file(path),
        key.format("A"): np.ones((4, 8), np.float32),
        key.format("B"): np.zeros((8, 4), np.float32),
    }
    save_file(tensors, path)
    assert "clip.blocks.0.attn.q_proj" not in open_library(root).get("fog").layers
    tensors[key.format("B")][0, 0] = 1e-3
    save_file(tensors, path)
    assert "q_proj" in open_library(root).problems["fog"]


def test_without_a_navigator_no_centroid_is_needed(root, open_library):
    statistics_path(root / "fog", "fog").unlink()
    library = open_library(root, encoder=None, dim=None)
    assert library.names == ("fog", "night", "rain")
    assert library.centroids.shape == (3, 0)
    assert not library.statistics


def test_many_threads_get_the_same_numbers(root, open_library):
    library = open_library(root, memory_bytes=1)
    expected = {n: library.get(n).layers["head.attn.q"].lora_a.copy() for n in library.names}
    wrong = []

    def work(seed):
        for i in range(30):
            name = library.names[(i * seed) % 3]
            if not np.array_equal(library.get(name).layers["head.attn.q"].lora_a, expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_damage_after_opening_is_reported_not_served(root, open_library):
    library = open_library(root, memory_bytes=1)
    (root / "fog" / TENSOR_FILE).write_bytes(b"")
    with pytest.raises(AdapterError, match="damaged or truncated"):
        library.get("fog")


def test_add_gives_a_new_snapshot(root, tmp_path, open_library, store):
    before = open_library(root)
    after = add_adapter(before, store(tmp_path / "elsewhere", "snow", seed=5), "snow-day")
    assert before.names == ("fog", "night", "rain")
    assert after.names == ("fog", "night", "rain", "snow-day")
    assert after.get("snow-day").name == "snow-day"
    assert statistics_path(root / "snow-day", "snow-day").is_file()
    assert not hidden(root)


def test_add_never_overwrites(root, tmp_path, open_library, store):
    with pytest.raises(AdapterError, match="already there"):
        add_adapter(open_library(root), store(tmp_path / "elsewhere", "fog", seed=5), "fog")


@pytest.mark.parametrize("reason", PROBLEMS)
def test_an_unusable_adapter_is_not_added(root, tmp_path, open_library, store, reason):
    folder = store(tmp_path / "elsewhere", "fog", seed=5)
    PROBLEMS[reason](folder)
    with pytest.raises(AdapterError, match=reason):
        add_adapter(open_library(root), folder, "snow")
    assert not (root / "snow").exists()
    assert not hidden(root)


def test_add_refuses_names_and_sources_that_are_none(root, tmp_path, open_library):
    library = open_library(root)
    with pytest.raises(AdapterError, match="adapter name"):
        add_adapter(library, root / "fog", "../fog")
    with pytest.raises(AdapterError, match="found none"):
        add_adapter(library, tmp_path / "nowhere", "snow")


def test_a_full_disk_is_reported_and_leaves_nothing(root, open_library, monkeypatch):
    library = open_library(root)
    monkeypatch.setattr(
        Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(LibraryError, match="disk full"):
        add_adapter(library, root / "fog", "snow")
    assert not (root / "snow").exists()
    assert not hidden(root)


def test_remove_keeps_the_running_snapshot(root, open_library):
    before = open_library(root)
    after = remove_adapter(before, "fog")
    assert after.names == ("night", "rain")
    assert before.get("fog").name == "fog"
    assert not (root / "fog").exists()
    assert not hidden(root)


def test_remove_of_a_link_leaves_its_target(root, tmp_path, open_library):
    target = tmp_path / "target"
    shutil.move(root / "fog", target)
    (root / "fog").symlink_to(target)
    assert remove_adapter(open_library(root), "fog").names == ("night", "rain")
    assert (target / TENSOR_FILE).is_file()


def test_remove_refuses_what_no_history_brings_back(root, open_library):
    (root / "fog" / "runs").mkdir()
    with pytest.raises(AdapterError, match=r"holds folders \['runs'\].*move them away"):
        remove_adapter(open_library(root), "fog")
    assert (root / "fog" / TENSOR_FILE).is_file()


def test_a_problem_can_be_removed(root, open_library):
    break_tensors(root / "fog")
    assert not remove_adapter(open_library(root), "fog").problems


@pytest.mark.parametrize("name", ["snow", "..", "", "."])
def test_remove_of_no_adapter_is_refused(root, open_library, name):
    with pytest.raises(AdapterError, match="expected an adapter"):
        remove_adapter(open_library(root), name)
    assert root.is_dir()


def test_remove_twice_is_reported(root, open_library):
    library = open_library(root)
    remove_adapter(library, "fog")
    with pytest.raises(AdapterError, match="gone"):
        remove_adapter(library, "fog")


def test_rename_takes_the_statistics_along(root, open_library):
    before = open_library(root)
    after = rename_adapter(before, "fog", "mist")
    assert after.names == ("mist", "night", "rain")
    np.testing.assert_array_equal(
        after.statistics["mist"].centroid, before.statistics["fog"].centroid
    )
    assert not statistics_path(root / "mist", "fog").exists()


def test_rename_onto_another_is_refused(root, open_library):
    with pytest.raises(AdapterError, match="already there"):
        rename_adapter(open_library(root), "fog", "rain")


def test_reload_sees_what_came_and_went(root, open_library, store):
    library = open_library(root)
    store(root, "snow", seed=8)
    shutil.rmtree(root / "fog")
    assert library.reload().names == ("night", "rain", "snow")
    assert library.names == ("fog", "night", "rain")


def test_add_completes_a_domain_that_waits_with_its_statistics(
    root, tmp_path, open_library, store
):
    mine = DomainStatistics(
        np.arange(5, dtype=np.float32), count=3, encoder="clip-tiny:center_crop"
    )
    write_statistics(root / "dusk", "dusk", mine)
    write_captions(root / "dusk", ("a street at dusk",))
    (root / "dusk" / "LICENSE").write_text("mine")
    source = store(tmp_path / "elsewhere", "dusk", seed=9)
    (source / "LICENSE").write_text("the adapter's")
    library = open_library(root)
    assert "dusk" in library.problems
    library = add_adapter(library, source, "dusk")
    assert read_captions(root / "dusk") == ("a street at dusk",)
    assert (root / "dusk" / "LICENSE").read_text() == "the adapter's"
    assert "dusk" in library.names
    np.testing.assert_array_equal(library.statistics["dusk"].centroid, mine.centroid)
    assert hidden(root) == []
    with pytest.raises(AdapterError, match="already there"):
        add_adapter(library, source, "dusk")


def test_statistics_that_wait_survive_a_failure_to_add_their_adapter(
    root, tmp_path, open_library, store, monkeypatch
):
    mine = DomainStatistics(np.arange(5, dtype=np.float32), encoder="clip-tiny:center_crop")
    before = write_statistics(root / "dusk", "dusk", mine).read_bytes()
    source = store(tmp_path / "elsewhere", "dusk", seed=9)
    library, rename = open_library(root), Path.rename

    def breaking(path, target):
        if path.name == Path(target).name == "dusk":
            raise OSError("the disk is gone")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", breaking)
        with pytest.raises(LibraryError, match="disk is gone"):
            add_adapter(library, source, "dusk")
    assert statistics_path(root / "dusk", "dusk").read_bytes() == before
    assert hidden(root) == []
    assert "dusk" in add_adapter(library, source, "dusk").names


ODD_STATISTICS = {
    "lzma": lambda p: repacked(p, zipfile.ZIP_LZMA),
    "bzip2": lambda p: repacked(p, zipfile.ZIP_BZIP2),
    "no zip": lambda p: p.write_bytes(b"PK\x03\x04 no zip"),
    "empty": lambda p: p.write_bytes(b""),
    "header that ends early": lambda p: p.write_bytes(
        p.read_bytes().replace(b"'fortran_order'", b"'''ortran_order'")
    ),
    "count of 1e300": lambda p: np.savez(p, train_average_embedding=np.ones(5), count=1e300),
    "sample that overflows": lambda p: np.savez(
        p, train_average_embedding=np.ones(5), sample=np.full((2, 5), 1e300), sample_blocks=[0, 1]
    ),
    "negative variance": lambda p: np.savez(
        p, train_average_embedding=np.ones(5), covariance=-np.eye(5), count=9
    ),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
}


def repacked(path, method):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("what", ODD_STATISTICS)
def test_one_malformed_statistics_file_is_set_aside_and_named(root, open_library, what):
    (root / "fog" / "SHA256SUMS").unlink(missing_ok=True)
    ODD_STATISTICS[what](statistics_path(root / "fog", "fog"))
    library = open_library(root)
    assert library.names == ("night", "rain")
    assert "fog_statistics.npz" in library.problems["fog"]


@pytest.fixture
def settled(monkeypatch):
    """Let what was just written count as written long ago."""
    monkeypatch.setattr(unchanged, "_SETTLED_NS", 0)


@pytest.mark.usefixtures("settled")
def test_what_is_unchanged_is_shared_and_not_read_again(root, open_library, monkeypatch):
    library = open_library(root)
    monkeypatch.setattr(type(library.contract), "read", lambda *_: pytest.fail("read again"))
    again = library.reload()
    assert again.names == library.names
    assert again.centroids is library.centroids
    assert again.get("fog") is library.get("fog")


@pytest.mark.usefixtures("settled")
def test_only_what_changed_is_read_again(root, open_library, make_adapter):
    library = open_library(root)
    fog, night = library.get("fog"), library.get("night")
    tensors = root / "fog" / TENSOR_FILE
    state = tensors.stat()
    time.sleep(0.02)  # the file system's clock goes on in steps
    with tensors.open("r+b") as stream:  # the same inode and size, other bytes
        stream.seek(-4, os.SEEK_END)
        stream.write(np.float32(7.0).tobytes())
    os.utime(tensors, ns=(state.st_atime_ns, state.st_mtime_ns))
    again = library.reload()
    assert again.get("night") is night
    factors = [
        f for layer in again.get("fog").layers.values() for f in (layer.lora_a, layer.lora_b)
    ]
    assert sum(int((f == 7.0).sum()) for f in factors) == 1
    assert library.get("fog") is fog


@pytest.mark.usefixtures("settled")
def test_other_statistics_move_the_centroid(root, open_library):
    library = open_library(root)
    time.sleep(0.02)
    write_statistics(
        root / "fog",
        "fog",
        DomainStatistics(np.full(5, 9.0, np.float32), encoder="clip-tiny:center_crop"),
    )
    again = library.reload()
    np.testing.assert_array_equal(again.centroids[0], np.full(5, 9.0))
    np.testing.assert_array_equal(again.centroids[1:], library.centroids[1:])


def test_what_changed_a_moment_ago_is_read_again(root, open_library):
    """A file system may show the same time for two changes that follow each other."""
    library = open_library(root)
    assert library.reload().get("fog") is not library.get("fog")


@pytest.mark.usefixtures("settled")
def test_a_damaged_adapter_that_was_mended_serves_after_a_reload(root, open_library):
    config = root / "fog" / "adapter_config.json"
    content = config.read_bytes()
    config.write_bytes(b"{")
    library = open_library(root)
    assert library.names == ("night", "rain")
    config.write_bytes(content)
    again = library.reload()
    assert again.names == ("fog", "night", "rain")
    assert not again.problems
    assert again.get("rain") is library.get("rain")
