"""What goes out to a tool comes back without loss, and what does not fit is refused whole."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import CaptureError
from semla_ros.data.labelling import archive
from semla_ros.data.labelling.archive import zip_content
from semla_ros.data.labelling.exchange import FORMATS, export_set, import_labels
from semla_ros.data.labelling.label_set import read_label_set
from semla_ros.data.labelling.plain import image_name

REAL = Path(__file__).parent / "real"
ENDING = {"cvat": "zip", "label-studio": "json", "coco": "json"}


def as_given_back(path, kind):
    """Turn what goes out into what the tool gives back: predictions become annotations."""
    if kind == "label-studio":
        tasks = json.loads(path.read_text())
        for task in tasks:
            (prediction,) = task.pop("predictions")
            task["annotations"] = [{"result": prediction["result"], "was_cancelled": False}]
        path.write_text(json.dumps(tasks))
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_a_round_trip_is_without_loss(label_set, masks, tmp_path, kind):
    out = tmp_path / f"out.{ENDING[kind]}"
    export_set(label_set, kind, out)
    got = import_labels(label_set, as_given_back(out, kind), accept_proposals=True)
    assert len(got.files) == len(masks)
    back = read_label_set(label_set.root)
    for image in back.images:
        np.testing.assert_array_equal(back.label(image), masks[image.name])
    assert not list(label_set.root.glob(".staging*"))


def test_what_was_labelled_goes_out_again(label_set, masks, tmp_path):
    image = label_set.images[0]
    label_set.write_label(image, np.zeros((image.height, image.width), np.uint8))
    export_set(label_set, "coco", tmp_path / "out.json")
    import_labels(label_set, tmp_path / "out.json")
    assert not label_set.label(image).any()


@pytest.mark.parametrize(
    "file", ["datumaro_voc.zip", "label_studio_converter.json", "pycocotools.json"]
)
def test_what_the_tools_own_libraries_write_is_read(label_set, masks, file):
    """The files were written by these libraries, which read ours to the bit: make_real.py."""
    import_labels(label_set, REAL / file, accept_proposals=True)
    for image in label_set.images:
        np.testing.assert_array_equal(label_set.label(image), masks[image.name])


@pytest.mark.parametrize("kind", ["cvat", "coco"])
def test_what_nobody_looked_at_is_no_label(label_set, tmp_path, kind):
    """What goes out and comes back at once is proposals, and masks without any class."""
    (label_set.root / "proposals" / "robot-003.png").unlink()
    out = tmp_path / f"out.{ENDING[kind]}"
    export_set(label_set, kind, out)
    with pytest.raises(CaptureError) as refused:
        import_labels(label_set, out)
    assert "holds no labels" in str(refused.value)
    assert "3 of" in str(refused.value)
    assert "--accept-proposals" in str(refused.value)
    accepted = import_labels(label_set, out, accept_proposals=True)
    assert [path.stem for path in accepted.files] == ["robot-000", "robot-001", "robot-002"]
    assert accepted.blank == (("robot-003",) if kind == "cvat" else ())
    assert accepted.unchanged == ()


def test_what_somebody_changed_is_told_from_proposals(label_set, masks, tmp_path):
    first, second = label_set.images[:2]
    changed = np.where(masks[first.name] == 0, 1, masks[first.name])
    label_set.write_label(first, changed)
    label_set.write_label(second, masks[second.name])  # accepted before
    export_set(label_set, "cvat", tmp_path / "out.zip")
    got = import_labels(label_set, tmp_path / "out.zip")
    assert [path.stem for path in got.files] == [first.name, second.name]
    assert got.unchanged == ("robot-002", "robot-003")
    assert len(got.left_out()) == 1
    np.testing.assert_array_equal(label_set.label(first), changed)


def test_what_was_submitted_in_label_studio_was_looked_at(label_set, masks, tmp_path):
    out = tmp_path / "out.json"
    export_set(label_set, "label-studio", out)
    got = import_labels(label_set, as_given_back(out, "label-studio"))
    assert len(got.files) == len(masks)
    assert not got.left_out()


@pytest.mark.parametrize(
    "address",
    [
        "a.png",
        "/data/local-files/?d=robot/a.png",
        "https://host/get?file=a.png",
        "https://b.s3.eu/x/a.png?X-Amz-Expires=9&X-Amz-Signature=abc/d=",
        "https://host/a.jpg#top",
        "robot\\a",
    ],
)
def test_names_of_images_are_found_in_addresses(address):
    assert image_name(address) == "a"


def test_images_that_were_uploaded_to_label_studio_are_known(label_set, masks, tmp_path):
    out = tmp_path / "out.json"
    export_set(label_set, "label-studio", out)
    as_given_back(out, "label-studio")
    renamed(out, "/data/local-files/?d=robot", "/data/upload/7/0a1b2c3d-robot")
    assert len(import_labels(label_set, out).files) == len(masks)


@pytest.mark.parametrize("kind", FORMATS)
def test_equal_sets_give_equal_bytes(label_set, tmp_path, kind):
    paths = [tmp_path / f"{i}.{ENDING[kind]}" for i in range(2)]
    for path in paths:
        export_set(label_set, kind, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def renamed(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("robot-001.png", "robot-099.png", "'robot-099', which is not in"),
        ("robot-001.png", "robot-000.png", "'robot-000' twice"),
        ('"name": "sky"', '"name": "heaven"', "label 'heaven' is none of the set's classes"),
        ('"height": 23', '"height": 24', "expected run lengths of (24, 37)"),
        ('"height": 23', '"height": 10000000', "height: expected a whole number"),
        ('"height": 23, "width": 37', '"height": 60000, "width": 60000', "60000"),
        ('"counts": [0', '"counts": [-1', "run lengths of 851"),
        ('"counts": [0', f'"counts": [{2**62}, {2**62}, {2**62}, {2**62}, 0', "lengths of 851"),
        ('"annotations"', '"notes"', "expected an entry of this name"),
        ('"image_id"', '"image"', "expected 'image_id'"),
    ],
)
def test_coco_that_does_not_fit_is_refused_whole(label_set, tmp_path, old, new, said):
    out = tmp_path / "out.json"
    export_set(label_set, "coco", out)
    renamed(out, old, new)
    with pytest.raises(CaptureError) as refused:
        import_labels(label_set, out)
    assert said in str(refused.value)
    assert all(label_set.label(image) is None for image in label_set.images)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("robot-001.png", "robot-099.png", "'robot-099', which is not in"),
        ('["sky"]', '["heaven"]', "label 'heaven' is none of the set's classes"),
        ('["sky"]', '["sky", "road"]', "one label for each region"),
        ('"rle": [0, 0, 13', '"rle": [1, 0, 13', "run lengths of 3404 values"),
        ('"format": "rle"', '"format": "polygon"', "expected brush regions"),
        ('"original_width": 37', '"original_width": "37"', "original_width: expected a int"),
        ('"annotations"', '"drafts"', "holds no labels"),
        ('"was_cancelled": false', '"was_cancelled": true', "holds no labels"),
    ],
)
def test_label_studio_that_does_not_fit_is_refused_whole(label_set, tmp_path, old, new, said):
    out = tmp_path / "out.json"
    export_set(label_set, "label-studio", out)
    as_given_back(out, "label-studio")
    renamed(out, old, new)
    with pytest.raises(CaptureError) as refused:
        import_labels(label_set, out)
    assert said in str(refused.value)
    assert all(label_set.label(image) is None for image in label_set.images)


def test_runs_that_are_cut_are_told(label_set, tmp_path):
    out = tmp_path / "out.json"
    export_set(label_set, "label-studio", out)
    tasks = json.loads(as_given_back(out, "label-studio").read_text())
    for cut in (3, 7, 9, 40):
        rle = tasks[0]["annotations"][0]["result"][0]["value"]["rle"]
        tasks[0]["annotations"][0]["result"][0]["value"]["rle"] = rle[:cut]
        out.write_text(json.dumps(tasks))
        with pytest.raises(CaptureError, match="run lengths"):
            import_labels(label_set, out)
        tasks[0]["annotations"][0]["result"][0]["value"]["rle"] = rle


def rewritten(path, change):
    """Write the zip anew with the files that `change` makes of its own."""
    with zipfile.ZipFile(path) as source:
        files = {name: source.read(name) for name in source.namelist()}
    path.write_bytes(zip_content(change(files).items()))


def test_cvat_that_does_not_fit_is_refused_whole(label_set, tmp_path):
    out, name = tmp_path / "out.zip", "SegmentationClass/robot-001.png"
    green = cv2.imencode(".png", np.full((23, 37, 3), (0, 255, 0), np.uint8))[1].tobytes()
    small = cv2.imencode(".png", np.zeros((5, 5, 3), np.uint8))[1].tobytes()
    for change, said in [
        (lambda f: {k: v for k, v in f.items() if k != "labelmap.txt"}, "expected labelmap.txt"),
        (lambda f: f | {"labelmap.txt": b"sky:1,2\n"}, "expected label:R,G,B"),
        (lambda f: f | {"labelmap.txt": "sky:²,2,2::\n".encode()}, "expected label:R,G,B"),
        (lambda f: f | {"labelmap.txt": b"sky:" + b"9" * 5000 + b",2,2"}, "expected label:R,G,B"),
        (lambda f: f | {"labelmap.txt": b"sky:0,0,9::\nroad:0,0,9::\n"}, "'sky' and 'road' share"),
        (lambda f: f | {"labelmap.txt": b"sky:0,0,0::\n"}, "'background' and 'sky' share colour"),
        (lambda f: f | {"labelmap.txt": b"sky:0,0,9::\nsky:0,0,8::\n"}, "'sky' appears twice"),
        (lambda f: f | {name: green}, "colour (0, 255, 0) is none of labelmap.txt"),
        (lambda f: f | {name: small}, "expected 23 x 37 pixels"),
        (lambda f: f | {name: b"GIF89a"}, "expected"),
        (lambda f: f | {"x/SegmentationClass/robot-001.png": small}, "are for one image"),
        (lambda f: f | {"SegmentationClass/robot-099.png": small}, "which is not in"),
        (lambda f: {"labelmap.txt": f["labelmap.txt"]}, "expected masks in SegmentationClass/"),
        (lambda f: f | {"labelmap.txt": f["labelmap.txt"].replace(b"sky", b"blue")}, "'blue'"),
    ]:
        export_set(label_set, "cvat", out)
        rewritten(out, change)
        with pytest.raises(CaptureError) as refused:
            import_labels(label_set, out)
        assert said in str(refused.value)
        assert all(label_set.label(image) is None for image in label_set.images)


def test_a_gray_mask_counts_the_label_map(label_set, masks, tmp_path):
    """CVAT's documentation allows masks of one channel: places in labelmap.txt."""
    out = tmp_path / "out.zip"
    export_set(label_set, "cvat", out)
    gray = np.where(masks["robot-001"] < 4, masks["robot-001"] + 1, 0).astype(np.uint8)
    content = cv2.imencode(".png", gray)[1].tobytes()
    rewritten(out, lambda f: f | {"SegmentationClass/robot-001.png": content})
    import_labels(label_set, out, accept_proposals=True)
    np.testing.assert_array_equal(label_set.label(label_set.images[1]), masks["robot-001"])


def test_a_zip_bomb_is_not_unpacked(label_set, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 10_000)
    out = tmp_path / "out.zip"
    export_set(label_set, "cvat", out)
    rewritten(out, lambda f: f | {"labelmap.txt": bytes(50_000_000)})
    with pytest.raises(CaptureError, match="at most 4000000 bytes"):
        import_labels(label_set, out)


def test_a_directory_beyond_its_bound_is_not_read(label_set, tmp_path, monkeypatch):
    out = tmp_path / "out.zip"
    export_set(label_set, "cvat", out)
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 100)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("read"))
    with pytest.raises(CaptureError, match="expected a directory of at most 100 bytes"):
        import_labels(label_set, out)


def test_a_zip_that_lies_about_its_sizes_is_refused(label_set, tmp_path):
    out = tmp_path / "out.zip"
    export_set(label_set, "cvat", out)
    with zipfile.ZipFile(out) as source:
        size = source.getinfo("labelmap.txt").file_size
    content = out.read_bytes()
    at = content.rindex(b"labelmap.txt") - 46 + 24
    assert int.from_bytes(content[at : at + 4], "little") == size
    out.write_bytes(content[:at] + (5).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(CaptureError, match="is damaged"):
        import_labels(label_set, out)


def test_paths_in_a_zip_lead_nowhere(label_set, masks, tmp_path):
    """Members are looked up by name and never written under it."""
    out = tmp_path / "out.zip"
    export_set(label_set, "cvat", out)
    rewritten(out, lambda f: {f"../../{k}": v for k, v in f.items()})
    import_labels(label_set, out, accept_proposals=True)
    assert {p.name for p in tmp_path.iterdir()} == {"set", "out.zip"}
    np.testing.assert_array_equal(label_set.label(label_set.images[0]), masks["robot-000"])


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"{", b"[", b"[1]", b"{}", b"null"])
def test_nonsense_is_one_line(label_set, tmp_path, content):
    (tmp_path / "back").write_bytes(content)
    with pytest.raises(CaptureError) as refused:
        import_labels(label_set, tmp_path / "back")
    assert "\n" not in str(refused.value)


def test_a_class_that_cvat_cannot_hold_is_told(tmp_path):
    from semla_ros.data.labelling.label_set import write_label_set

    odd = write_label_set(tmp_path / "odd", ("a:b", "c"), [])
    with pytest.raises(CaptureError, match="cannot hold the class 'a:b'"):
        export_set(odd, "cvat", tmp_path / "out.zip")
