"""Measures of rank over the range of doubles, by their definitions in mpmath."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast.rank_dynamics as rd

MEASURES = [
    rd.effective_rank, rd.nuclear_norm, rd.numerical_rank, rd.participation_ratio, rd.stable_rank,
]  # fmt: skip
values = st.floats(-323, 308).map(lambda e: 10.0**e) | st.just(0.0) | st.just(1.7e308)


@given(st.lists(values, min_size=1, max_size=6))
def test_ranks_of_numbers_of_any_size(s):
    with mp.workdps(700):
        exact = [mpf(x) for x in s]
        total, top, squares = mp.fsum(exact), max(exact), mp.fsum(x * x for x in exact)
        shares = [x / total for x in exact if x] if total else []
        entropy = -mp.fsum(p * mp.log(p) for p in shares)
        expected = {
            rd.effective_rank: mp.exp(entropy) if total else 0,
            rd.stable_rank: squares / top**2 if total else 0,
            rd.participation_ratio: total**2 / squares if total else 0,
            rd.nuclear_norm: total if total < mpf("1.797e308") else np.inf,
            rd.numerical_rank: sum(x > mpf(1e-3) * top for x in exact),
        }
    for measure, value in expected.items():
        if measure is rd.nuclear_norm and not value < 1e308:
            assert measure(s) > 9e307
            continue
        assert_allclose(measure(s), float(value), rtol=4e-14, atol=1e-320)


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_refused_and_what_is_data(measure):
    assert_allclose(rd.effective_rank([1e308, 1e308]), 2, rtol=1e-15)
    assert_allclose(rd.participation_ratio([1e308, 1e308]), 2, rtol=1e-15)
    # Records after the end of a run.
    found = measure([[1.0, 1.0], [np.nan, np.nan], [np.nan, 1.0]])
    assert_array_equal(found, [2, np.nan, np.nan])
    for bad in ([], np.zeros((3, 0)), np.zeros((0, 3)), [1.0, np.inf], [np.nan, np.inf], [-1.0]):
        with pytest.raises(ValueError, match="singular_values must"):
            measure(bad)
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for bad in (masked, 1.0, ["a"], [1j], [None], [True], np.array([object()])):
        with pytest.raises(TypeError, match="singular_values must"):
            measure(bad)
    with pytest.raises(
        ValueError, match="singular_values must be a real number or a regular array"
    ):
        measure([[1.0], [1.0, 2.0]])
