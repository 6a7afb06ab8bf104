"""package.xml and requirements/robot.txt declare what the package imports and starts."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import semla_ros

ROOT = Path(__file__).resolve().parents[1]
ROSDEP = {"cv2": "python3-opencv", "yaml": "python3-yaml"} | {
    name: f"python3-{name}"
    for name in ("cryptography", "hypothesis", "jinja2", "numpy", "pytest", "tqdm")
}
"""Python module -> the rosdep key that installs it."""
PIP_NAME = {"backports": "backports.zstd"}
OPTIONAL = {
    *("accelerate", "google", "matplotlib", "onnx", "onnxscript", "open_clip", "openvino", "peft"),
    *("PIL", "psutil", "ray", "scipy", "sklearn", "tensorrt", "timm", "torch", "torchvision"),
    *("huggingface_hub", "transformers", "typing_extensions"),
}
"""Modules of pyproject.toml's extras and of what they install: imported where they are used."""
MAKERS = {"datumaro", "label_studio_converter", "pycocotools"}
"""What test/data/labelling/make_real.py makes test data with; no test imports it."""
GENERATED_BY = {"rosidl_parser": "rosidl_default_generators"}


def declared(*kinds):
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    return {each.text for kind in kinds for each in root.iter(kind)}


def robot():
    lines = (ROOT / "requirements" / "robot.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def imported(*folders):
    """Return top-level module -> a file that imports it, but for own and standard ones."""
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                for name in names:
                    found.setdefault(name.partition(".")[0], path)
    local = {path.stem for path in (ROOT / "test").rglob("*") if path.suffix in ("", ".py")}
    known = sys.stdlib_module_names | {"semla_ros", "compression"} | local  # compression: 3.14
    return {name: path for name, path in found.items() if name not in known}


def key(module):
    return ROSDEP.get(module, GENERATED_BY.get(module, module))


@pytest.mark.parametrize(
    ("folders", "kinds"),
    [
        (("semla_ros", "launch"), ("depend", "exec_depend")),
        (
            ("test",),
            ("depend", "exec_depend", "test_depend", "buildtool_depend"),
        ),
    ],
    ids=["run", "test"],
)
def test_every_import_is_declared(folders, kinds):
    pip = {re.split(r"[^\w.-]", line)[0] for line in robot()}
    missing = {
        name: path.relative_to(ROOT)
        for name, path in imported(*folders).items()
        if key(name) not in declared(*kinds)
        and PIP_NAME.get(name, name) not in pip
        and name not in OPTIONAL | MAKERS
    }
    assert not missing


def test_every_package_that_is_started_or_shown_is_declared():
    started = set()
    for path in (ROOT / "launch").glob("*.py"):
        started |= set(re.findall(r'package="(\w+)"', path.read_text(encoding="utf-8")))
    view = (ROOT / "config" / "semla.rviz").read_text(encoding="utf-8")
    started |= set(re.findall(r"Class: (rviz\w+)/", view))
    assert {"rviz2", "rviz_default_plugins"} <= started
    assert started - {"semla_ros"} <= declared("exec_depend")


def test_interfaces_use_declared_packages():
    used = set()
    for path in [*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")]:
        used |= set(re.findall(r"^(\w+)/\w+", path.read_text(encoding="utf-8"), re.M))
    assert used
    assert used - {"semla_ros"} <= declared("depend")


def test_there_is_one_version():
    assert declared("version") == {semla_ros.__version__}
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {semla_ros.__version__} " in changelog
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_pip_and_rosdep_together_give_what_pyproject_asks_for():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = {
        line.replace("'", '"')
        for line in ast.literal_eval(
            project.partition("\ndependencies = ")[2].partition("]")[0] + "]"
        )
    }
    by_rosdep = {"jinja2", "numpy", "opencv-python-headless", "PyYAML", "tqdm"}
    names = {line: re.split(r"[^\w.-]", line)[0] for line in asked}
    assert {line for line, name in names.items() if name not in by_rosdep} == set(robot())
