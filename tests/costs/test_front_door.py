"""Arguments that are something else, or too much: refused by name, at once, before any work."""

from __future__ import annotations

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast import regularizers as r

N = lf.Diagonal(3, 2)
ONES = np.ones(3)
HUGE = np.broadcast_to(1.0, (10**9, 3))
ITSELF = []
ITSELF.append(ITSELF)
PADDED = lf.Convolution(3, 3, 3, padding="zero")

NUMBERS = [None, "abc", b"x", 1j, np.array([1j, 2, 3]), np.array([1, "a", None], object), [],
           np.array([1, 2, 3], object), [1, np.nan, 2], [1, np.inf, 2], np.zeros((0, 3)), {},
           np.ma.array([1.0, 2, 3], mask=[0, 1, 0]), {1, 2, 3}, ITSELF, [[1, 2], [3]], True, HUGE,
           [True, False, True], 2**70, len, int, N, r.L1(), ["1", "2", "3"],
           np.array(["2020"], "datetime64[D]"), [1.7e308] * 3]  # fmt: skip
SEEDS = [None, "1", b"x", 1j, -1, 2.5, np.nan, {}, {1}, len, ITSELF, np.matrix, [1.5], True, N]
TAKE = {
    "cost of a closed form": lambda x: lf.representation_cost(N, x),
    "cost that is searched": lambda x: lf.representation_cost(PADDED, x, n_starts=1),
    "limit": lambda x: lf.depth_limit(N, x),
    "induced": lf.what_is(N).value,
}


@pytest.mark.parametrize("name", TAKE)
@pytest.mark.parametrize("number", range(len(NUMBERS)))
def test_predictors(name, number):
    if name == "induced" and number == len(NUMBERS) - 1:
        assert TAKE[name](NUMBERS[number]) == np.inf  # a value, as those of regularizers are
        return
    with pytest.raises((TypeError, ValueError), match=r"^predictor"):
        TAKE[name](NUMBERS[number])


@pytest.mark.parametrize("seed", SEEDS[1:], ids=str)
def test_seeds(seed):
    for call in (
        lambda: lf.representation_cost(N, ONES, rng=seed),
        lambda: lf.verify(N, r.L1(), rng=seed),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^rng"):
            call()


@pytest.mark.parametrize("network", [None, "Diagonal(3)", lf.Diagonal, layers.Diagonal(3), r.L1()])
def test_networks(network):
    for call in (
        lambda: lf.representation_cost(network, ONES),
        lambda: lf.depth_limit(network, ONES),
        lambda: lf.what_is(network),
        lambda: lf.verify(network, r.L1()),
    ):
        with pytest.raises(TypeError, match=r"^network"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lf.representation_cost(lf.Convolution(2**21, 3, 3), np.ones(2**21)), "network"),
        (lambda: lf.representation_cost(lf.Convolution(5000, 3, 3, padding="zero"), np.ones(5000)),
         "network must have at most 6,000 weights and entries"),
        (lambda: lf.verify(N, r.L1(), n_samples=10**8), "n_samples"),
        (lambda: lf.verify(lf.Diagonal(10**7, 2), r.L1()), "n_samples must be <= 4"),
        (lambda: lf.verify(N, r.GroupLasso([(0, 1), (2, 3, 4)])), "network must"),
        (lambda: lf.parameterize(r.TotalVariation(), 10**6), "n_features must be <= 8192"),
        (lambda: lf.parameterize(r.Huber(), 10**6), "n_features must be <= 8192"),
        (lambda: lf.parameterize(r.WeightedL1([1.0, 2.0] * 5000), 10**4), "n_features must be <="),
        (lambda: lf.parameterize(r.InfimalConvolution(r.L1(), r.L2()), 10**6), "n_features must"),
        (lambda: lf.parameterize(r.Lp(1e-9), 3), "Lp.* needs 2e.09 layers"),
        (lambda: lf.parameterize(r.SchattenP(1e-7), (3, 3)), "SchattenP.* needs 2e.07 layers"),
    ],
)  # fmt: skip
def test_what_is_too_large(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_what_is_large_networks_is_said_at_once():
    assert lf.what_is(lf.Residual(10**5, 2, n_outputs=10**5)) is None
    assert "kernels of width 3" in str(lf.what_is(lf.Convolution(10**6, 3, 3)))
