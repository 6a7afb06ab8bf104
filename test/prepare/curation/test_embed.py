"""`semla library embed` as a user runs it: whole, interrupted, killed, on bad pictures."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.core.errors import LibraryError, SemlaError
from semla_ros.core.files.image_file import read_image
from semla_ros.library.seal import read_seal
from semla_ros.library.statistics import read_statistics
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.prepare.adapters.sealing import seal_domains
from semla_ros.prepare.curation import embed
from semla_ros.prepare.curation.embed import EmbedRequest, embed_domain
from semla_ros.prepare.curation.embedding_store import Block, open_store
from semla_ros.prepare.curation.sources import list_images

ROOT = Path(__file__).resolve().parents[3]


def request_for(bundle, *sources, **changes):
    return EmbedRequest(bundle, sources, **{"name": "dusk", "threads": 1, **changes})


def leftovers(bundle):
    kept = {".history", ".lock"}
    return [p.name for p in (bundle / "library").glob(".*") if p.name not in kept]


def test_the_statistics_are_those_of_the_navigators_embeddings(bundle, pictures):
    folder = pictures(20)
    made = embed_domain(request_for(bundle, folder))
    encoder = OnnxImageEncoder(open_bundle(bundle), threads=1)
    rows = [encoder.encode(read_image(p, max_pixels=10**6)) for p in list_images(folder)]
    read = read_statistics(bundle / "library" / "dusk", "dusk")
    np.testing.assert_allclose(read.centroid, np.mean(rows, axis=0), atol=1e-6)
    assert (read.count, read.encoder) == (20, "mean-colour")
    assert read.shrinkage == made.statistics.shrinkage
    np.testing.assert_allclose(read.sample.embeddings, rows, atol=1e-6)
    assert np.bincount(read.sample.blocks).tolist() == [7, 7, 6]
    assert made.path.parent.name == "dusk"
    assert not made.adapter
    assert leftovers(bundle) == []


def test_a_recording_is_held_out_whole_though_pictures_are_torn(bundle, pictures):
    one, other = pictures(30, name="one"), pictures(20, name="other")
    (one / "003.png").write_bytes(b"torn")
    embed_domain(request_for(bundle, one, other))
    blocks = read_statistics(bundle / "library" / "dusk", "dusk").sample.blocks
    assert blocks.tolist() == [0] * 29 + [2] * 20


class _StopError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 17, 40])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    bundle, pictures, monkeypatch, stop_after, tmp_path
):
    folder = pictures(50)
    (folder / "007.png").write_bytes(b"torn")
    whole = embed_domain(request_for(bundle, folder, out=tmp_path / "whole.npz"))
    encode, seen = OnnxImageEncoder.encode_batch, []

    def failing(self, images):
        def counted():
            for image in images:
                seen.append(1)
                if len(seen) > stop_after:
                    raise _StopError
                yield image

        return encode(self, counted())

    with monkeypatch.context() as patch:
        patch.setattr(OnnxImageEncoder, "encode_batch", failing)
        with pytest.raises(_StopError):
            embed_domain(request_for(bundle, folder))
    assert not (bundle / "library" / "dusk").exists()
    again = embed_domain(request_for(bundle, folder))
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert again.resumed in range(max(0, stop_after - embed.BLOCK), stop_after + 1)
    assert [x.name for x in again.left_out] == ["007.png"]
    assert leftovers(bundle) == []


def test_a_killed_process_loses_at_most_a_block(bundle, pictures, tmp_path):
    folder = pictures(600)
    words = [sys.executable, "-m", "semla_ros", "library", "embed", bundle, folder]
    process = subprocess.Popen([*words, "--name", "dusk"], cwd=ROOT, stderr=subprocess.DEVNULL)
    resume = bundle / "library" / ".dusk.resume"
    deadline = time.monotonic() + 60
    while not any(resume.glob("*.npz")):
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = embed_domain(request_for(bundle, folder))
    assert made.resumed > 0
    whole = embed_domain(request_for(bundle, folder, out=tmp_path / "whole.npz"))
    assert made.path.read_bytes() == whole.path.read_bytes()


def test_other_pictures_do_not_go_on_from_the_old_ones(bundle, pictures, tmp_path):
    with open_store(tmp_path / ".two.npz.resume", key="another source", dim=3) as store:
        store.append(Block(0, np.ones((16, 3), np.float32), ()))
    made = embed_domain(request_for(bundle, pictures(20, "two", 5), out=tmp_path / "two.npz"))
    assert (made.resumed, made.statistics.count) == (0, 20)


def test_an_adapter_without_statistics_gets_them(bundle, pictures):
    (bundle / "library" / "fog" / "fog_statistics.npz").unlink()
    assert embed_domain(request_for(bundle, pictures(5), name="fog")).adapter
    assert main(["library", "list", str(bundle)]) == 0


def test_statistics_are_not_overwritten_unasked(bundle, pictures):
    folder = pictures(5)
    before = (bundle / "library" / "fog" / "fog_statistics.npz").read_bytes()
    with pytest.raises(LibraryError, match="--replace"):
        embed_domain(request_for(bundle, folder, name="fog"))
    assert (bundle / "library" / "fog" / "fog_statistics.npz").read_bytes() == before
    made = embed_domain(request_for(bundle, folder, name="fog", replace=True))
    assert made.path.read_bytes() != before


def test_a_graph_that_takes_batches_gives_the_same(bundle, pictures, tmp_path):
    folder = pictures(21)
    one = embed_domain(request_for(bundle, folder, out=tmp_path / "one.npz")).statistics
    free = tmp_path / "free"
    shutil.copytree(bundle, free)
    graph = onnx.load(free / "navigator.onnx")
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "B"
    onnx.save(graph, free / "navigator.onnx")
    assert OnnxImageEncoder(open_bundle(free, verify=False), threads=1).batches
    many = embed_domain(request_for(free, folder, out=tmp_path / "many.npz")).statistics
    np.testing.assert_allclose(many.centroid, one.centroid, atol=1e-6)
    assert many.count == 21


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a.b"}, "adapter name"),
        ({"name": "base"}, "reserved"),
        ({"out": Path("nowhere/x.npz")}, "make it first"),
        ({"out": Path("x.txt")}, r"\.npz"),
    ],
)
def test_impossible_requests_leave_nothing(bundle, pictures, changes, message):
    with pytest.raises(SemlaError, match=message):
        embed_domain(request_for(bundle, pictures(2), **changes))
    assert leftovers(bundle) == []
    assert not (bundle / "library" / "dusk").exists()


def test_no_readable_picture_is_an_error_that_shows_one(bundle, pictures):
    folder = pictures(2)
    for path in folder.iterdir():
        path.write_bytes(b"torn")
    with pytest.raises(LibraryError, match=r"none of 2.*001\.png"):
        embed_domain(request_for(bundle, folder))
    assert leftovers(bundle) == []


def test_on_the_command_line(bundle, pictures, capsys):
    folder = pictures(30)
    (folder / "002.jpg").write_bytes(b"torn")
    words = ["library", "embed", str(bundle), str(folder), "--name", "dusk", "--every", "2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "dusk: 14 images by mean-colour" in out
    assert "left out 002.jpg" in out
    assert "has no adapter yet" in out
    assert (
        main(["library", "add", str(bundle), str(bundle / "library" / "fog"), "--name", "dusk"])
        == 0
    )
    assert read_statistics(bundle / "library" / "dusk", "dusk").count == 14


def test_ctrl_c_says_how_to_go_on(bundle, pictures, capsys, monkeypatch):
    def interrupt(_, images):
        next(images)
        raise KeyboardInterrupt

    monkeypatch.setattr(OnnxImageEncoder, "encode_batch", interrupt)
    words = ["library", "embed", str(bundle), str(pictures(3)), "--name", "dusk"]
    assert main(words) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_a_new_domain_is_sealed_and_new_statistics_renew_their_line(bundle, pictures):
    folder = bundle / "library" / "dusk"
    embed_domain(request_for(bundle, pictures(), name="dusk"))
    assert set(read_seal(folder).digests) == {"dusk_statistics.npz"}
    seal_domains(bundle, ["fog"])
    more = pictures(name="more", seed=1)
    embed_domain(request_for(bundle, more, name="fog", replace=True))
    assert seal_domains(bundle, ["fog"]) == []
    embed_domain(request_for(bundle, more, name="night", replace=True))
    assert not (bundle / "library" / "night" / "SHA256SUMS").exists()


def test_statistics_written_elsewhere_seal_nothing(bundle, pictures, tmp_path):
    out = tmp_path / "elsewhere"
    out.mkdir()
    embed_domain(request_for(bundle, pictures(), out=out / "dusk_statistics.npz"))
    assert [path.name for path in out.iterdir()] == ["dusk_statistics.npz"]
