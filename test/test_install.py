"""The wheel in a bare environment, away from the source tree: what the README says there works."""

import json
import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from semla_ros import __version__
from semla_ros.core import shipped

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({folder!r}))"
SOURCES = ("semla_ros", "config", "models/demo", "msg", "compat")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
CAMERA = "/camera/image_raw/compressed"
IGNORED = shutil.ignore_patterns("__pycache__")


def run(*words, cwd=None):
    """Return what a command prints, run where no other copy of the package can be seen."""
    hidden = ("PYTHONPATH", "AMENT_PREFIX_PATH", "SEMLA_BUNDLE")
    done = subprocess.run(
        [str(word) for word in words],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in hidden},
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def build(kind, tree, folder):
    """Return the file that setuptools makes in `folder` of the sources in `tree`."""
    said = run(sys.executable, "-c", BUILD.format(kind=kind, folder=str(folder)), cwd=tree)
    return folder / said.splitlines()[-1]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Return sdist and wheel; the wheel is made from the sdist, as pip does it."""
    root = tmp_path_factory.mktemp("build")
    tree = root / "tree"
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=IGNORED)
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    sdist = build("sdist", tree, root)
    with tarfile.open(sdist) as archive:
        archive.extractall(root / "unpacked")
    (unpacked,) = (root / "unpacked").iterdir()
    return sdist, build("wheel", unpacked, root)


@pytest.fixture(scope="module")
def bare(archives, tmp_path_factory):
    """Return the folder of an environment with the wheel, and no other way to the package.

    The libraries are those of this interpreter; what it has installed itself stays out of sight.
    """
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder),
        *("install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", archives[1]),
    )
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    return folder


@pytest.fixture
def semla(bare, tmp_path):
    """Return a function that runs the installed `semla` in an empty folder."""

    def call(*words):
        return run(bare / "bin" / "semla", *words, cwd=tmp_path)

    call.python = lambda code: run(bare / "bin" / "python", "-c", code, cwd=tmp_path)
    return call


def expected():
    """Return every file of the source tree that comes with the package."""
    return {
        f"semla_ros/share/{path.relative_to(shipped.places()[0])}"
        for name in shipped.FOLDERS
        for path in (shipped.places()[0] / name).rglob("*")
        if path.is_file()
    }


def test_sdist_and_wheel_hold_every_shipped_file(archives):
    sdist, wheel = archives
    assert sdist.name == f"semla_ros-{__version__}.tar.gz"
    assert wheel.name.startswith(f"semla_ros-{__version__}-")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        installed = set(archive.namelist())
    assert "semla_ros/share/config/label_maps/synonyms.yaml" in expected()
    assert expected() <= packed
    assert expected() == {name for name in installed if name.startswith("semla_ros/share/")}


def test_the_package_is_the_installed_one_and_finds_what_it_ships(semla, bare):
    code = """
import json, semla_ros
from semla_ros.data.bags.definitions import typestore_with
from semla_ros.data.labels.class_lists import class_lists
from semla_ros.data.labels.label_map import label_maps, read_label_map
from semla_ros.data.labels.class_mapping import Synonyms
from semla_ros.processes.drive import dds_profile
from semla_ros.pipeline import default_bundle
maps = {name: read_label_map(name).name for name in label_maps()}
print(json.dumps({
    "package": semla_ros.__file__, "maps": maps, "sets": list(class_lists()),
    "synonym": Synonyms.shipped().class_of("automobile", ["road", "car"]),
    "bundle": str(default_bundle()), "profile": str(dds_profile()),
    "message": "semla_ros/msg/SupportScore" in typestore_with().fielddefs,
}))
"""
    found = json.loads(semla.python(code))
    for name in ("package", "bundle", "profile"):
        assert found[name].startswith(str(bare)), name
    assert {"cityscapes", "acdc", "mapillary"} <= set(found["maps"])
    assert found["sets"] == ["cityscapes"]
    assert found["synonym"] == 1
    assert found["message"]


def test_the_readmes_commands(semla, tmp_path):
    semla("footage", "--out", "drive", "--seconds", "4", "--fps", "2")
    semla("replay", "drive/drive.mcap", "--topic", CAMERA, "--out", "out")
    assert (tmp_path / "out" / "index.html").is_file()
    words = (
        "evaluate",
        "drive/drive.mcap",
        "--labels",
        "/truth",
        "--domains",
        "drive/domains.csv",
    )
    semla(*words, "--out", "study", "--strategies", "zero-shot,semla")
    assert (tmp_path / "study" / "index.html").is_file()
    chosen = ("--label-map", "cityscapes:label_ids")
    semla(*words, "--out", "mapped", "--strategies", "semla", *chosen)
    bundle = semla.python("from semla_ros.pipeline import default_bundle; print(default_bundle())")
    semla("bundle", "verify", bundle.strip())
