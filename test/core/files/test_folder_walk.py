"""Folders behind links are walked, each once."""

from semla_ros.core.files.folder_walk import files_below


def test_links_to_folders_are_followed_and_cycles_end(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "a").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "a" / "1.png").touch()
    (elsewhere / "2.png").touch()
    (root / "b").symlink_to(elsewhere)
    (root / "again").symlink_to(root / "a")
    (elsewhere / "up").symlink_to(root)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    found = [p.relative_to(root).as_posix() for p in files_below(root)]
    assert found == ["a/1.png", "b/2.png"]


def test_an_empty_folder_has_none(tmp_path):
    assert list(files_below(tmp_path)) == []
