"""What several robots captured becomes sets to be labelled, under names that fit the library."""

import csv
from contextlib import closing
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest
from captures import ROOMY, frame_of, write_captures

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'semla-ros[evaluate]'")

from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.core.errors import CaptureError, ConfigError
from semla_ros.core.files.png import png_content
from semla_ros.data.captures.folder import read_captures
from semla_ros.data.captures.record import CaptureIdentity, mask_file, sha256_of
from semla_ros.data.captures.ring import CaptureRing
from semla_ros.data.labelling.label_set import read_label_set
from semla_ros.engine.postprocess import restore
from semla_ros.loop.gap_page import when, write_gaps
from semla_ros.loop.gaps import GapsRequest, domain_name, file_name, find_gaps
from semla_ros.loop.sources import Sources, robots_of
from semla_ros.prepare.adapters.sealing import seal_domains

SECOND = 10**9


@pytest.fixture
def identity(small):
    spec = open_bundle(small, verify=False).manifest.navigator
    return CaptureIdentity(spec.identity, spec.dim)


@pytest.fixture
def classes(small):
    return open_bundle(small, verify=False).manifest.vocabulary.names


def around(corner, count, dim, seed):
    """Return embeddings near one corner of the space."""
    rng = np.random.default_rng(seed)
    middle = np.zeros(dim)
    middle[corner] = 50.0
    return (middle + rng.normal(0, 1, (count, dim))).astype(np.float32)


@pytest.fixture
def fleet(tmp_path, identity, classes):
    """Two robots: both met one kind of scene, one of them another, too."""
    dim = identity.dim
    write_captures(
        tmp_path / "anna" / "captures",
        [s * SECOND for s in range(1, 21)],
        identity=identity,
        embeddings=np.concatenate([around(0, 12, dim, 1), around(1, 8, dim, 2)]),
        classes=classes[:3],
    )
    write_captures(
        tmp_path / "bert" / "captures",
        [s * SECOND for s in range(101, 111)],
        identity=identity,
        embeddings=around(0, 10, dim, 3),
        classes=classes,
    )
    return [str(tmp_path / name / "captures") for name in ("anna", "bert")]


def test_gaps_of_a_fleet(small, fleet, tmp_path, classes):
    out = tmp_path / "gaps"
    found = find_gaps(GapsRequest(tuple(fleet), out, bundle=small))
    assert [(len(g.gap.frames), g.robots) for g in found.gaps] == [
        (22, ("anna/captures", "bert/captures")),
        (8, ("anna/captures",)),
    ]
    shared, single = found.gaps
    assert (shared.first_ns, shared.last_ns) == (SECOND, 110 * SECOND)
    assert shared.name != single.name
    assert {g.gap.nearest for g in found.gaps} <= {"fog", "night", "rain"}
    made = read_label_set(out / shared.name)
    assert made.vocabulary.names == classes
    assert len(made.images) == 22
    proposed = {image.name: made.proposal(image) is not None for image in made.images}
    # anna drove with another class list: its masks would mean something else
    assert {n.split("-")[0] for n, p in proposed.items() if p} == {"bert"}
    files = write_gaps(found, out)
    rows = list(csv.DictReader((out / "gaps.csv").read_text().splitlines()))
    assert len(rows) == 30
    page = files[0].read_text()
    for word in (shared.name, single.name, "bert/captures", "data:image/jpeg"):
        assert word in page


def test_the_command_says_what_it_found(small, fleet, tmp_path, capsys):
    assert main(["gaps", *fleet, "--bundle", str(small), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "22 frames of anna/captures, bert/captures, 1.0 s to 110.0 s" in said
    assert main(["gaps", *fleet, "--bundle", str(small), "--out", str(tmp_path / "out")]) == 2
    assert "expected a new folder" in capsys.readouterr().err


def test_labels_go_out_and_come_back_by_command(small, fleet, tmp_path, capsys):
    found = find_gaps(GapsRequest(tuple(fleet), tmp_path / "gaps", bundle=small))
    root, out = str(found.gaps[0].label_set.root), str(tmp_path / "out.zip")
    assert main(["labels", "export", root, "--format", "cvat", "--out", out]) == 0
    assert main(["labels", "import", root, out]) == 2
    said = capsys.readouterr().err
    assert "12 of 22 masks: no class anywhere; 10 of 22 masks: the proposal, unchanged" in said
    assert main(["labels", "import", root, out, "--accept-proposals"]) == 0
    said = capsys.readouterr().out
    assert "wrote labels of 10 of 22 images" in said
    assert "left out: 12 of 22 masks: no class anywhere" in said
    assert main(["labels", "import", root, str(tmp_path / "nothing")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_captures_of_another_navigator_are_refused(small, fleet, tmp_path, identity):
    other = CaptureIdentity("clip:other", identity.dim)
    folder = write_captures(tmp_path / "carl", [], identity=other)
    with pytest.raises(CaptureError, match="give --bundle the one that the robot drove with"):
        find_gaps(GapsRequest((*fleet, str(folder)), tmp_path / "out", bundle=small))


def test_what_is_damaged_is_left_out_and_told(small, fleet, tmp_path):
    folder = tmp_path / "anna" / "captures"
    (folder / f"{SECOND:019d}.json").write_text("{}")
    (folder / f"{2 * SECOND:019d}.png").write_bytes(b"edited")
    found = find_gaps(GapsRequest(tuple(fleet), tmp_path / "out", bundle=small))
    assert len(found.sources.found) == 29
    assert sum(len(g.label_set.images) for g in found.gaps) == 28
    told = " ".join(found.sources.problems)
    assert f"{SECOND:019d}.json' is damaged" in told
    assert f"{2 * SECOND:019d}.png' is not what the node wrote" in told


def test_nothing_captured_is_no_gap(small, tmp_path, identity):
    folder = write_captures(tmp_path / "carl", [], identity=identity)
    found = find_gaps(GapsRequest((str(folder),), tmp_path / "out", bundle=small))
    assert not found.gaps
    assert "the library covers it all" in write_gaps(found, tmp_path / "out")[0].read_text()


def test_what_is_not_there_is_named(small, tmp_path):
    with pytest.raises(ConfigError, match=r"found no '/nowhere/x\.mcap'"):
        find_gaps(GapsRequest(("/nowhere/x.mcap",), tmp_path / "out", bundle=small))


def test_captures_have_the_name_of_their_folder(small, fleet, tmp_path):
    with pytest.raises(ConfigError, match="leave NAME= out"):
        find_gaps(GapsRequest((f"anna={fleet[0]}",), tmp_path / "out", bundle=small))


def test_a_recording_is_evaluated_and_grouped_with_captures(small, fleet, tmp_path):
    """The frames come from `evaluate`'s own gate, so both find the same."""
    from recordings import write_camera

    from semla_ros.evaluation.analysis.gaps import library_gaps

    bag = tmp_path / "drive.mcap"
    write_camera(bag, count=12)
    changes = {"support_low": 1e6, "out_of_library": 1e6, "engine": "onnx"}
    request = GapsRequest((fleet[1], str(bag)), tmp_path / "out", bundle=small, changes=changes)
    found = find_gaps(request)
    alone = library_gaps(found.sources.study)
    recorded = [f for g in found.gaps for f in g.gap.frames if f.recording == "drive"]
    assert sorted(f.index for f in recorded) == sorted(f.index for g in alone for f in g.frames)
    assert len(recorded) > 3
    names = [i.name for g in found.gaps for i in g.label_set.images]
    assert sum(n.startswith("drive-") for n in names) == len(recorded)


def test_a_recording_named_like_a_robot_keeps_its_own_images(small, tmp_path, identity, classes):
    from recordings import write_camera

    stamps = [s * SECOND for s in range(1, 9)]
    embeddings = around(0, 8, identity.dim, 1)
    robot = write_captures(
        tmp_path / "captures" / "anna",
        stamps,
        identity=identity,
        embeddings=embeddings,
        classes=classes,
    )
    (tmp_path / "bags").mkdir()
    bag = tmp_path / "bags" / "anna.mcap"
    write_camera(bag, count=8)
    changes = {"support_low": 1e6, "out_of_library": 1e6, "engine": "onnx"}
    request = GapsRequest((str(robot), str(bag)), tmp_path / "out", bundle=small, changes=changes)
    found = find_gaps(request)
    frames = [frame for gap in found.gaps for frame in gap.gap.frames]
    assert {frame.recording for frame in frames} == {"captures/anna", "anna"}
    recorded = [frame for frame in frames if frame.recording == "anna"]
    assert recorded
    assert not any(found.sources.proposal(frame, classes) is not None for frame in recorded)
    captured = [c.image() for c in read_captures(robot).captures]
    for _, rgb in found.sources.pictures(recorded):
        assert not any(np.array_equal(rgb, each) for each in captured)
    write_gaps(found, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "gaps.csv").read_text().splitlines()))
    assert {bool(row["image"]) for row in rows if row["robot"] == "anna"} == {False}


def test_masks_at_the_size_of_the_network_become_proposals(small, tmp_path, identity, classes):
    """A node with `output_size: model` keeps images and masks of two sizes."""
    record, files = frame_of(SECOND, embedding=around(0, 1, identity.dim, 1)[0], classes=classes)
    mask, name = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3, mask_file(record.name)
    files = files | {name: png_content(mask)}
    record = replace(record, sha256={n: sha256_of(c) for n, c in files.items()})
    with closing(CaptureRing(tmp_path / "anna", identity)) as ring:
        ring.keep(record, files, ROOMY)
    found = find_gaps(GapsRequest((str(tmp_path / "anna"),), tmp_path / "out", bundle=small))
    made = found.gaps[0].label_set
    np.testing.assert_array_equal(made.proposal(made.images[0]), restore(mask, (24, 32)))
    assert made.root.is_dir()


def test_what_fails_on_the_way_does_not_block_the_next_call(small, fleet, tmp_path, monkeypatch):
    out, done = tmp_path / "out", []

    def fails(self, frame, classes):
        done.append(frame)
        if len(done) == 5:
            raise CaptureError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Sources, "proposal", fails)
        with pytest.raises(CaptureError, match="disk full"):
            find_gaps(GapsRequest(tuple(fleet), out, bundle=small))
    assert len(find_gaps(GapsRequest(tuple(fleet), out, bundle=small)).gaps) == 2
    with pytest.raises(CaptureError, match="give another --out"):
        find_gaps(GapsRequest(tuple(fleet), out, bundle=small))


@pytest.mark.parametrize("policy", ["unsealed_adapters", "generated_adapters"])
def test_adapters_that_may_not_serve_are_left_out_of_both(small, fleet, tmp_path, policy):
    from recordings import write_camera

    bundle, bag = tmp_path / "bundle", tmp_path / "drive.mcap"
    copytree(small, bundle)
    seal_domains(bundle, ("fog", "night"))
    (bundle / "library" / "rain" / "generated.json").write_text('{"generated": true}')
    write_camera(bag, count=4)
    changes = {"support_low": 1e6, "out_of_library": 1e6, "engine": "onnx", policy: "refuse"}
    for number, inputs in enumerate([(*fleet, str(bag)), fleet]):
        request = GapsRequest(
            tuple(inputs), tmp_path / str(number), bundle=bundle, changes=changes
        )
        found = find_gaps(request)
        assert {len(each.distances) for each in found.sources.found} == {2}
        assert {gap.gap.nearest for gap in found.gaps} <= {"fog", "night"}


def test_files_are_named_so_that_the_set_can_be_read():
    assert file_name("/data/Anna 2") == "data-anna-2"
    assert file_name("a-" + "b" * 79) == "b" * 79
    assert file_name("Å") == "robot"


def test_robots_of_names_that_look_alike_have_files_of_their_own(small, tmp_path, identity):
    dim, folders = identity.dim, []
    for seed, name in enumerate(["an na", "an_na"]):
        stamps = [s * SECOND for s in (1, 2)]
        folder = tmp_path / name
        write_captures(folder, stamps, identity=identity, embeddings=around(0, 2, dim, seed))
        folders.append(str(folder))
    found = find_gaps(GapsRequest(tuple(folders), tmp_path / "out", bundle=small))
    names = [image.name for image in found.gaps[0].label_set.images]
    assert sorted({name[:-20] for name in names}) == ["an-na", "an-na-2"]


def test_names_come_from_the_nearest_words():
    words = {"weather": "a street on a foggy night", "scene": "a street with trees"}
    assert domain_name(words, number=3) == "foggy-night"
    assert domain_name({}, number=3) == "gap-3"


def test_robots_have_names_of_their_own(tmp_path):
    from pathlib import Path

    assert list(robots_of([Path("/a/x"), Path("/b/y")])) == ["x", "y"]
    assert list(robots_of([Path("/a/x"), Path("/b/x")])) == ["a/x", "b/x"]
    assert list(robots_of([Path("/1/a/x"), Path("/2/a/x")])) == ["/1/a/x", "/2/a/x"]
    assert list(robots_of([Path("/a/x"), Path("/b/y")], taken=["x"])) == ["a/x", "y"]
    assert list(robots_of([Path("/1/a/x")], taken=["x", "a/x"])) == ["/1/a/x"]
    with pytest.raises(ConfigError, match="every folder once"):
        robots_of([tmp_path, tmp_path])


def test_times_are_dates_where_they_can_be():
    assert when(1_700_000_000 * SECOND) == "2023-11-14 22:13:20"
    assert when(90 * SECOND) == "90.0 s"
    assert frame_of(5)[0].name == "0000000000000000005"
