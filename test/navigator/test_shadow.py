"""A shadow never says too little: its bounds hold for any rows, any axes, any vector."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from semla_ros.navigator.shadow import DIRECTIONS, Shadow

scales = st.sampled_from([1e-6, 1.0, 1e4])


@examples(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    axes=st.integers(1, 24),
    scale=scales,
    other=scales,
    rank=st.sampled_from([1, 3, 24]),
)
def test_no_product_is_larger(seed, axes, scale, other, rank):
    rng = np.random.default_rng(seed)
    rows = scale * rng.standard_normal((50, rank)) @ rng.standard_normal((rank, 24))
    any_axes = np.linalg.qr(rng.standard_normal((24, axes)))[0]
    shadow = Shadow(rows, any_axes)
    for vector in (other * rng.standard_normal(24), rows[3], -rows[4], np.zeros(24)):
        assert (shadow.at_most(vector) >= rows @ vector).all()


def test_what_lies_in_few_directions_is_known_to_float32():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((300, 4)) @ rng.standard_normal((4, 200))
    shadow = Shadow.of(rows)
    vector = rng.standard_normal(200)
    room = 1e-4 * np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    assert (shadow.at_most(vector) - rows @ vector <= room).all()


def test_rows_that_spread_everywhere_have_none():
    rng = np.random.default_rng(2)
    assert Shadow.of(rng.standard_normal((3000, 4 * DIRECTIONS))) is None


@pytest.mark.parametrize("rows", [np.zeros((300, 8)), np.ones((300, 8))])
def test_equal_rows_are_no_special_case(rows):
    shadow = Shadow.of(rows)
    if shadow is not None:
        assert (shadow.at_most(np.ones(8)) >= rows.sum(axis=1)).all()
