"""The command line: exit codes, one-line errors, no heavy import for help."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semla_ros.cli import VERBS, main
from semla_ros.core.config import PARAMETERS
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bundle(small):
    return small


@pytest.fixture
def bag(tmp_path):
    path = tmp_path / "drive.mcap"
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for i in range(4):
            image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            fields = image_fields(image, stamp_ns=10**9 + i * 10**8, frame_id="cam")
            if i == 2:
                fields["encoding"] = "klingon8"
            writer.write("/image", IMAGE, fields, 10**9 + i * 10**8)
    return path


def run(capsys, *words):
    code = main([str(w) for w in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_needs_neither_torch_nor_ros_nor_numpy():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'rclpy', 'numpy', 'cv2']))\n"
        "from semla_ros.cli import main\n"
        "main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert verb in done.stdout


def test_module_and_version():
    done = subprocess.run(
        [sys.executable, "-m", "semla_ros", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("semla 0.")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(capsys, verb):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert f"semla {verb}" in capsys.readouterr().out


def test_params_is_a_table_of_every_parameter(capsys):
    code, out, _ = run(capsys, "params")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 2 + len(PARAMETERS)
    for line, spec in zip(lines[2:], PARAMETERS.values(), strict=True):
        assert line.count("|") == 6
        assert line.startswith(f"| `{spec.name}` |")
        assert spec.doc in line


def test_topics(capsys, bag, tmp_path):
    assert run(capsys, "topics", bag) == (0, "/image  sensor_msgs/msg/Image  4\n", "")
    code, out, err = run(capsys, "topics", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("semla: error: expected a recording at")
    assert err.count("\n") == 1


def test_replay(capsys, bag, bundle, tmp_path):
    out_folder = tmp_path / "out"
    words = ("--bundle", bundle, "--out", out_folder, "--engine", "fake", "--policy", "always")
    code, out, _ = run(capsys, "replay", bag, *words, "--param", "top_k=2", "--no-video")
    assert code == 0
    assert "3 of 4 frames segmented, 1 skipped" in out
    assert "skipped 1: " in out
    assert "klingon8" in out
    assert f"wrote {out_folder / 'results.json'}" in out
    assert not (out_folder / "overlay.mp4").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--param", "top_k"), "expected --param NAME=VALUE, got 'top_k'"),
        (("--param", "top_k=many"), "expected int, got 'many'"),
        (("--param", "topk=3"), "did you mean 'top_k'"),
        (("--engine", "warp"), "expected one of"),
        (("--topic", "/other"), "no image topic '/other': image topics are /image (4)"),
    ],
)
def test_wrong_words_are_one_line(capsys, bag, bundle, tmp_path, words, message):
    code, _, err = run(
        capsys, "replay", bag, "--bundle", bundle, "--out", tmp_path / "out", *words
    )
    assert code == 2
    assert message in err
    assert err.startswith("semla: error: ")
    assert err.count("\n") == 1


def test_bundle_show_and_verify(capsys, bundle):
    code, out, _ = run(capsys, "bundle", "show", bundle)
    assert re.search(r"^engine +\w+ in (f32|bf16|f16), auto: ", out, re.MULTILINE), out
    assert code == 0
    for expected in ("small: catseg", "road, car, sky, tree", "fog, night, rain"):
        assert expected in out
    code, out, _ = run(capsys, "bundle", "verify", bundle)
    assert code == 0
    assert "as they were built" in out


def test_an_edited_bundle_is_named(capsys, bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with (copy / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    code, _, err = run(capsys, "bundle", "verify", copy)
    assert code == 2
    assert "'weights.safetensors' was edited or damaged" in err


def test_library_verbs_change_the_folder(capsys, bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    unsealed = "fog  unsealed\nnight  unsealed\nrain  unsealed\n"
    assert run(capsys, "library", "list", copy) == (0, unsealed, "")
    sealed = run(capsys, "library", "seal", copy)
    assert sealed == (0, "sealed fog\nsealed night\nsealed rain\n", "")
    assert run(capsys, "library", "seal", copy) == (0, "every seal is there and holds\n", "")
    assert run(capsys, "library", "list", copy) == (0, "fog\nnight\nrain\n", "")
    assert run(capsys, "library", "rename", copy, "fog", "mist")[:2] == (0, "mist\nnight\nrain\n")
    source = bundle / "library" / "fog"
    assert run(capsys, "library", "add", copy, source)[:2] == (0, "fog\nmist\nnight\nrain\n")
    assert run(capsys, "library", "remove", copy, "rain")[:2] == (0, "fog\nmist\nnight\n")
    code, _, err = run(capsys, "library", "remove", copy, "rain")
    assert code == 2
    assert "'rain'" in err
    (copy / "library" / "mist" / "adapter_model.safetensors").write_bytes(b"broken")
    code, out, _ = run(capsys, "library", "list", copy)
    assert code == 1
    assert "mist  unusable: " in out


def test_ctrl_c_is_no_traceback(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    verb = VERBS["params"]
    monkeypatch.setitem(VERBS, "params", type(verb)(verb.help, verb.arguments, interrupt))
    assert run(capsys, "params") == (130, "", "semla: interrupted\n")


@pytest.mark.parametrize(
    "words",
    [
        ("replay", "x" * 300 + ".mcap", "--out", "out"),
        ("segment", "x" * 300, "a.png", "--out", "out"),
        ("segment", "bundle", "x" * 300 + ".png", "--out", "out"),
        ("compare", "x" * 300, "x" * 300),
        ("report", "x" * 300, "--out", "out"),
        ("evaluate", "x" * 300, "--out", "out"),
        ("library", "embed", "x" * 300, "y" * 300, "--name", "z" * 300),
        ("topics", "x" * 300),
    ],
)
def test_names_that_no_file_can_have_are_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("semla: error: ")
    assert len(said.splitlines()) == 1
