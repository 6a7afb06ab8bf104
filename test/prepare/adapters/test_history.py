"""A library goes back to what it was, bit for bit, whatever was done to it."""

import shutil

import pytest

from semla_ros.core.errors import LibraryError
from semla_ros.prepare.adapters.history import (
    FOUND,
    alone,
    changing,
    history,
    prune,
    roll_back,
)


@pytest.fixture
def library(tmp_path):
    root = tmp_path / "library"
    for name in ("fog", "night"):
        (root / name).mkdir(parents=True)
        (root / name / "adapter_model.safetensors").write_bytes(name.encode() * 100)
        (root / name / "adapter_config.json").write_text("{}")
    return root


def content(root):
    """Return every file of a library that is not hidden."""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(root).parts)
    }


def add(root, name, text="new"):
    (root / name).mkdir()
    (root / name / "adapter_model.safetensors").write_text(text)


def test_every_change_is_undone_to_the_bit(library):
    before = content(library)
    with changing(library, "added snow"):
        add(library, "snow")
    after = content(library)
    with changing(library, "removed fog"):
        shutil.rmtree(library / "fog")
        (library / "night" / "README.md").write_text("edited")
    assert [(s.number, s.why) for s in history(library)] == [
        (1, FOUND),
        (2, "added snow"),
        (3, "removed fog"),
    ]
    assert roll_back(library, 2).number == 4
    assert content(library) == after
    roll_back(library, 1)
    assert content(library) == before
    assert history(library)[-1].why == "rolled back to 1"
    assert not list(library.rglob(".staging*"))


def test_what_others_did_is_kept_before_it_is_undone(library):
    with changing(library, "added snow"):
        add(library, "snow")
    (library / "fog" / "adapter_config.json").write_text("by hand")
    by_hand = content(library)
    state = roll_back(library, 1)
    assert [s.why for s in history(library)] == [FOUND, "added snow", FOUND, "rolled back to 1"]
    roll_back(library, state.number - 1)
    assert content(library) == by_hand


def test_nothing_done_is_no_state(library):
    for _ in range(3):
        with changing(library, "nothing"):
            pass
    assert len(history(library)) == 1


def test_a_change_that_fails_keeps_the_state_before(library):
    with pytest.raises(RuntimeError), changing(library, "added snow"):
        raise RuntimeError("no")
    assert [s.why for s in history(library)] == [FOUND]


def test_equal_files_are_kept_once(library):
    with changing(library, "added snow"):
        shutil.copytree(library / "fog", library / "snow")
    assert len(list((library / ".history" / "files").iterdir())) == 3


def test_two_at_once_are_refused_with_a_clear_message(library):
    with alone(library):
        with pytest.raises(LibraryError, match="in use by another process"):
            roll_back(library, 1)
        with pytest.raises(LibraryError, match="wait for it, or end it"), changing(library, "x"):
            pass
    with changing(library, "x"):
        pass


def test_a_damaged_history_changes_nothing(library):
    with changing(library, "added snow"):
        add(library, "snow")
    after = content(library)
    shutil.rmtree(library / "fog")
    for path in (library / ".history" / "files").iterdir():
        path.write_bytes(b"damaged")
    now = content(library)
    with pytest.raises(LibraryError, match="gone or damaged: this state cannot come back"):
        roll_back(library, 1)
    assert content(library) == now != after


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', "{"])
def test_a_damaged_state_is_named(library, text):
    with changing(library, "x"):
        pass
    (library / ".history" / "000001.json").write_text(text)
    with pytest.raises(LibraryError, match=r"000001\.json' is damaged"):
        history(library)


@pytest.mark.parametrize(
    "domains", [{"..": {}}, {"a/b": {}}, {"a": {"../x": "0" * 64}}, {"a": {"x": "../../etc"}}]
)
def test_a_state_never_leads_outside(library, domains):
    import json

    with changing(library, "x"):
        pass
    path = library / ".history" / "000001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"domains": domains}))
    with pytest.raises(LibraryError, match="is damaged"):
        roll_back(library, 1)


def test_no_such_state_and_no_library_are_told(library, tmp_path):
    with pytest.raises(LibraryError, match=r"expected a state of \[1\], got 9"):
        roll_back(library, 9)
    with pytest.raises(LibraryError, match="found no folder"):
        roll_back(tmp_path / "nowhere", 1)
    assert history(tmp_path) == ()


def test_pruning_forgets_the_oldest_states_and_what_only_they_named(library):
    for name in ("snow", "rain", "dusk"):
        with changing(library, f"added {name}"):
            add(library, name, text=name)
    with changing(library, "removed snow"):
        shutil.rmtree(library / "snow")
    before, numbers = content(library), [s.number for s in history(library)]
    files = {p.name for p in (library / ".history" / "files").iterdir()}
    assert prune(library, 2) == (3, 0), "snow is in the state before the last"
    assert [s.number for s in history(library)] == numbers[-2:]
    roll_back(library, numbers[-2])
    assert (library / "snow").is_dir()
    roll_back(library, numbers[-1])
    assert content(library) == before
    states, nbytes = prune(library, 1)
    assert (states, nbytes) == (3, len("snow"))
    assert len(files) - len(list((library / ".history" / "files").iterdir())) == 1
    with pytest.raises(LibraryError, match=r"expected a state of \[7\], got 4"):
        roll_back(library, numbers[-2])
    with changing(library, "added fog 2"):
        add(library, "fog 2")
    assert [s.number for s in history(library)] == [7, 8]


def test_pruning_asks_for_a_state_to_keep_and_goes_on_after_an_interruption(library):
    with pytest.raises(LibraryError, match="at least 1 state to keep, got 0"):
        prune(library, 0)
    assert prune(library, 3) == (0, 0), "no history yet"
    with changing(library, "added snow"):
        add(library, "snow", text="snow")
    shutil.rmtree(library / "snow")
    with changing(library, "nothing"):
        pass
    for number in (1, 2):  # as after a kill between states and files
        (library / ".history" / f"{number:06d}.json").unlink()
    assert prune(library, 1) == (0, len("snow"))


def test_pruning_by_command(tmp_path, capsys):
    from fakes import tiny_bundle

    from semla_ros.cli import main

    bundle = tiny_bundle(tmp_path / "bundle")
    with changing(bundle.library, "removed fog"):
        shutil.rmtree(bundle.library / "fog")
    assert main(["library", "prune", str(bundle.root), "--keep", "1"]) == 0
    assert "states deleted: 1; freed: " in capsys.readouterr().out
    assert main(["library", "prune", str(bundle.root), "--keep", "0"]) == 2
    assert "expected at least 1 state to keep" in capsys.readouterr().err


def test_what_no_state_keeps_is_taken_along_and_never_deleted(library):
    with changing(library, "added snow"):
        add(library, "snow")
    (library / "fog" / "runs").mkdir()
    (library / "fog" / "runs" / "x.ckpt").write_text("hours of work")
    (library / "fog" / ".notes").write_text("mine")
    with changing(library, "edited fog"):
        (library / "fog" / "adapter_config.json").write_text('{"r": 2}')
    roll_back(library, 1)
    assert (library / "fog" / "adapter_config.json").read_text() == "{}"
    assert (library / "fog" / "runs" / "x.ckpt").read_text() == "hours of work"
    assert (library / "fog" / ".notes").read_text() == "mine"
    roll_back(library, 2)
    (library / "snow" / "runs").mkdir()
    with pytest.raises(LibraryError, match=r"would delete .*snow' with its folders \['runs'\]"):
        roll_back(library, 1)
    assert (library / "snow" / "runs").is_dir()


@pytest.mark.parametrize("name", ["Icon\r", b"fog\xe9".decode("utf-8", "surrogateescape")])
def test_a_file_that_no_state_can_name_is_told_before_anything_is_written(library, name):
    (library / "fog" / name).write_text("")
    with (
        pytest.raises(LibraryError, match=r"cannot name a file .*rename or remove it"),
        changing(library, "nothing"),
    ):
        pytest.fail("nothing may be changed")
    (library / "fog" / name).unlink()
    with changing(library, "added snow"):
        add(library, "snow")
    assert [state.number for state in history(library)] == [1, 2]


def test_a_long_reason_is_cut_and_not_lost(library):
    with changing(library, f"renamed {'a' * 126} to {'b' * 126}"):
        add(library, "snow")
    assert history(library)[-1].why.startswith("renamed aaa")


def test_a_kept_file_of_another_size_is_kept_again(library):
    with changing(library, "added snow"):
        add(library, "snow")
    digest = history(library)[-1].domains["snow"]["adapter_model.safetensors"]
    kept = library / ".history" / "files" / digest
    kept.write_text("")
    with changing(library, "added rain"):
        add(library, "rain", "other")
    assert kept.read_text() == "new"
