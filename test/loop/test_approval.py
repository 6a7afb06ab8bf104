"""Only the bytes that were judged are let in, and only into what they were held against."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'semla-ros[train]'")

from semla_ros.bundle import open_bundle, reseal, write_manifest
from semla_ros.core.errors import LibraryError
from semla_ros.library.library import AdapterLibrary
from semla_ros.loop import approval
from semla_ros.loop.approval import approve
from semla_ros.loop.quarantine import alone, place_of, read_verdict, waiting, write_verdict
from semla_ros.loop.train import LoopRequest, train_domain
from semla_ros.loop.trial import link, trial_bundle
from semla_ros.prepare.adapters.changes import add_adapter
from semla_ros.prepare.adapters.history import history, roll_back


def trained(bundle):
    return place_of(bundle, "dusk") / "bundle" / "library" / "dusk"


def files_of(root):
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not any(x.startswith(".") for x in p.relative_to(root).parts)
    }


def times(bundle):
    return {p: p.stat().st_ctime_ns for p in bundle.library.glob("[!.]*/*")}


def test_what_passed_is_let_in_and_may_go_again(bundle, judged):
    before = files_of(bundle.library)
    approve(bundle, "dusk")
    library = AdapterLibrary.of(bundle)
    assert "dusk" in library.names
    assert "dusk" not in library.unsealed
    assert not place_of(bundle, "dusk").exists()
    assert not waiting(bundle)
    assert [s.why for s in history(bundle.library)] == ["found as it was", "let in dusk"]
    kept = bundle.library / ".quarantine" / ".approved" / "dusk.json"
    assert judged.adapter in kept.read_text()
    roll_back(bundle.library, 1)
    assert files_of(bundle.library) == before


def test_other_bytes_than_were_judged_stay_out(bundle, judged):
    (trained(bundle) / "README.md").write_text("trained again with other labels")
    with pytest.raises(LibraryError, match="is not the one that was judged"):
        approve(bundle, "dusk")
    assert not (bundle.library / "dusk").exists()


def test_a_verdict_that_names_no_adapter_lets_nothing_in(bundle, judged):
    path = place_of(bundle, "dusk") / "verdict.json"
    path.write_text(path.read_text().replace(f'"adapter": "{judged.adapter}",', ""))
    assert read_verdict(bundle, "dusk") == replace(judged, adapter=""), "of an older version"
    with pytest.raises(LibraryError, match="is not the one that was judged"):
        approve(bundle, "dusk")


def test_nothing_is_let_in_while_a_loop_is_at_work(bundle, judged):
    with alone(bundle), pytest.raises(LibraryError, match=r"the loop of the library .* is in use"):
        approve(bundle, "dusk")


def test_another_library_than_it_was_held_against(bundle, judged):
    (bundle.library / "fog" / "README.md").write_text("another fog")
    with pytest.raises(LibraryError, match="held against another library or bundle"):
        approve(bundle, "dusk")


def test_other_retrieval_than_it_was_held_against(bundle, judged):
    reseal(bundle, defaults=replace(bundle.manifest.defaults, temperature=0.5))
    with pytest.raises(LibraryError, match="held against another library or bundle"):
        approve(bundle, "dusk")


def test_the_library_is_compared_once_nobody_else_can_change_it(bundle, judged, monkeypatch):
    @contextmanager
    def changing(library, why):
        (library / "fog" / "README.md").write_text("by whoever held the library until now")
        yield

    monkeypatch.setattr(approval, "changing", changing)
    with pytest.raises(LibraryError, match="held against another library"):
        approve(bundle, "dusk")


def test_an_interrupted_approval_goes_on(bundle, judged, labelled):
    add_adapter(AdapterLibrary.of(bundle), trained(bundle), "dusk")
    with pytest.raises(LibraryError, match=r"`semla loop approve \S+ dusk` finishes"):
        train_domain(LoopRequest(labelled.root, bundle.root, "dusk"), print)
    assert approve(bundle, "dusk") == bundle.library / "dusk"
    assert not place_of(bundle, "dusk").exists()


def test_another_domain_of_that_name_is_not_taken_for_it(bundle, judged):
    add_adapter(AdapterLibrary.of(bundle), bundle.library / "rain", "dusk")
    with pytest.raises(LibraryError, match="held against another library"):
        approve(bundle, "dusk")
    assert trained(bundle).exists()


def test_the_only_other_copy_goes_when_the_disk_has_the_library(bundle, judged, monkeypatch):
    synced = []

    def to_disk(path):
        assert trained(bundle).exists()
        synced.append(path.name)

    monkeypatch.setattr(approval, "to_disk", to_disk)
    approve(bundle, "dusk")
    assert sorted(synced) == sorted(p.name for p in (bundle.library / "dusk").iterdir())


def test_a_disk_that_refuses_leaves_both_copies(bundle, judged, monkeypatch):
    def to_disk(_path):
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(approval, "to_disk", to_disk)
        with pytest.raises(
            LibraryError, match=r"cannot finish letting in 'dusk'.*approve it again"
        ):
            approve(bundle, "dusk")
    assert trained(bundle).exists()
    approve(bundle, "dusk")
    assert not place_of(bundle, "dusk").exists()


def test_a_running_node_need_not_read_its_library_again(bundle):
    before = times(bundle)
    for _ in range(2):  # the second one replaces what the first one made
        trial_bundle(bundle, "dusk")
    assert times(bundle) == before


def test_approval_leaves_the_other_adapters_as_they_were(bundle, judged):
    before = times(bundle)
    approve(bundle, "dusk")
    assert times(bundle).items() >= before.items()


def test_files_in_folders_of_a_bundle_come_along(bundle):
    (bundle.root / "checkpoint").mkdir()
    (bundle.root / "checkpoint" / "config.json").write_text("{}")
    files = dict(bundle.manifest.files) | {"checkpoint/config.json": 64 * "0"}
    write_manifest(bundle.root, replace(bundle.manifest, files=files))
    trial = trial_bundle(open_bundle(bundle.root, verify=False), "dusk")
    assert (trial.root / "checkpoint" / "config.json").read_text() == "{}"


def test_on_another_disk_files_keep_their_time_of_change(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("Invalid cross-device link")

    source = tmp_path / "a.png"
    source.write_bytes(b"image")
    before = source.stat().st_mtime_ns
    monkeypatch.setattr("os.link", refuse)
    link(source, tmp_path / "data" / "a.png")
    assert (tmp_path / "data" / "a.png").stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 1}'])
def test_a_damaged_verdict_lets_nothing_in(bundle, judged, text):
    write_verdict(bundle, judged)
    (place_of(bundle, "dusk") / "verdict.json").write_text(text)
    with pytest.raises(LibraryError, match=r"verdict\.json' is damaged"):
        approve(bundle, "dusk")
