"""Words in the navigator's space: written, read, and refused where they are not what they say."""

import numpy as np
import pytest

from semla_ros.core.errors import BundleError
from semla_ros.navigator.prompts import PromptEmbeddings, read_prompts, write_prompts


def unit(rows=3, dim=4):
    table = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def prompts(**changes):
    fields = {
        "encoder": "clip",
        "prompt_set": "driving:1",
        "groups": ("place", "place", "light"),
        "prompts": ("a street", "Straße", "at night"),
        "embeddings": unit(),
    }
    return PromptEmbeddings(**{**fields, **changes})


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "p.npz"
    write_prompts(path, prompts())
    read = read_prompts(path)
    assert (read.encoder, read.prompt_set) == ("clip", "driving:1")
    assert (read.groups, read.prompts) == (prompts().groups, prompts().prompts)
    np.testing.assert_array_equal(read.embeddings, prompts().embeddings)
    assert read.embeddings.dtype == np.float32
    before = path.read_bytes()
    write_prompts(path, prompts())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": ("place",)},
        {"embeddings": unit(2)},
        {"embeddings": unit()[0]},
        {"embeddings": 1.01 * unit()},
        {"groups": (), "prompts": (), "embeddings": unit(0)},
    ],
)
def test_what_does_not_fit_together_is_refused(changes):
    with pytest.raises(BundleError):
        prompts(**changes)


def test_damage_is_one_error(tmp_path):
    path = tmp_path / "p.npz"
    write_prompts(path, prompts())
    whole = path.read_bytes()
    for share in (0.0, 0.3, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BundleError, match="restore the bundle"):
            read_prompts(path)
    np.savez(path, encoder=np.asarray("x"))
    with pytest.raises(BundleError, match="restore the bundle"):
        read_prompts(path)
    np.savez(path, **{k: np.ones(3) for k in ("encoder", "prompt_set", "groups", "prompts")})
    with pytest.raises(BundleError, match="restore the bundle"):
        read_prompts(path)
