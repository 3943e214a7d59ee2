"""From a regularizer to the network that induces it, and back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast import layers
from linnet_fast import regularizers as r
from linnet_fast._base import machine, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.induced import MOST_SQUARE, what_is
from linnet_fast.costs.representation_cost import Seed, checked_generator, representation_cost
from linnet_fast.costs.solvers import bounds
from linnet_fast.costs.solvers.atoms import owl_atoms, sign_vectors
from linnet_fast.networks.chain import Chain, checked_network, parallel
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped
from linnet_fast.regularizers import Regularizer

_MOST_UNITS = 20_000
_MOST_NUMBERS = 2**27
_MOST_LAYERS = 100_000


class NoParameterizationError(ValueError):
    """Raised by `parameterize` if no network is known, or none exists, for a regularizer."""


@dataclass(frozen=True)
class Verification:
    """Whether a network's costs are a multiple of a regularizer, on random predictors.

    Parameters
    ----------
    passed : bool
        Whether all costs are exact and agree to the tolerance.
    constant, power : float
        cost = constant * value ** power, the constant fitted.
    deviation : float
        Largest relative deviation, gaps of bounds included; inf if one of the two is infinite for
        a predictor, and the other is not, NaN if no cost was found.
    n_exact : int
        How many costs were exact.
    n_samples : int
        Out of how many.
    """

    passed: bool
    constant: float
    power: float
    deviation: float
    n_exact: int
    n_samples: int

    def __bool__(self) -> bool:
        """Whether it passed."""
        return self.passed


def parameterize(regularizer: Regularizer, n_features: int | tuple[int, int]) -> Chain:
    """Return the network whose representation cost is a regularizer, but for a constant.

    With weight decay on that network one minimises, in effect, loss + regularizer. The constant,
    and for quasi-norms the power, is what `what_is` says of the network; `verify` checks it.

    Parameters
    ----------
    regularizer : Regularizer
        Of `linnet_fast.regularizers`.
    n_features : int or (int, int)
        Inputs of a network with one output; (outputs, inputs) for regularizers of matrices.

    Returns
    -------
    Chain

    Raises
    ------
    NoParameterizationError
        If no network exists; the message says why and what comes nearest.
    TypeError, ValueError
        If an argument has a wrong type or value.

    Notes
    -----
    Which l_p norms have a network of two layers is known: the unit ball of the dual norm must be a
    spectrahedron, which among l_q balls those of q = 1, 2 and infinity are. A network of L layers
    has a cost that is homogeneous of degree 2 / L. After Dai, Karzand, Srebro 2021.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> from linnet_fast import regularizers
    >>> network = lf.parameterize(regularizers.KSupport(2), n_features=3)
    >>> network.widths, str(lf.what_is(network))
    ((3, 3, 1), '2 * KSupport(k=2)')
    """
    validate.instance("regularizer", regularizer, Regularizer)  # type: ignore[type-abstract]
    if regularizer._n_axes == 2:
        if not isinstance(n_features, (tuple, list)) or len(n_features) != 2:
            msg = f"n_features must be (outputs, inputs) for {regularizer!r}, got {n_features!r}"
            raise ValueError(msg)
        outputs, inputs = validate.integers("n_features", n_features, low=1, high=2**31 - 1)
        return _of_matrices(regularizer, outputs, inputs)
    n = validate.integer("n_features", n_features, low=1, high=2**31 - 1)
    regularizer._check("n_features", (n,))
    for kind, make in _MAKERS.items():
        if type(regularizer) is kind:
            return make(regularizer, n)
    msg = f"no network is known for {regularizer!r}"
    raise NoParameterizationError(msg)


def _of_matrices(regularizer: Regularizer, outputs: int, inputs: int) -> Chain:
    inner = min(outputs, inputs)
    if isinstance(regularizer, r.NuclearNorm):
        return Dense((inputs, inner, outputs))
    if isinstance(regularizer, r.SchattenP):
        depth = _depth_of(regularizer, regularizer.p)
        return Dense((inputs, *(inner,) * (depth - 1), outputs))
    msg = f"no network is known for {regularizer!r}"
    raise NoParameterizationError(msg)


def _depth_of(regularizer: Regularizer, power: float) -> int:
    """Return the L with 2 / L = power."""
    if 2 / power > _MOST_LAYERS:
        msg = f"{regularizer!r} needs {2 / power:g} layers, more than {_MOST_LAYERS:,}"
        raise NoParameterizationError(msg)
    depth = round(2 / power)
    if abs(2 / depth - power) > 1e-12:
        near = sorted({max(1, math.floor(2 / power)), math.ceil(2 / power)})
        options = " or ".join(f"{2 / k:.6g} ({k} layers)" for k in near)
        msg = (
            f"no network of layers has the cost {regularizer!r}: L layers give the power 2 / L, and "
            f"2 / {power:g} is not an integer. The nearest powers are {options}"
        )
        if isinstance(regularizer, r.Lp):
            msg += (
                f"; the map b = w |w|**({2 / power - 1:.6g}) of single weights, which is no "
                "polynomial, gives it exactly"
            )
        raise NoParameterizationError(msg)
    return depth


def _dictionary(atoms: FloatArray) -> Chain:
    """Return the network of two layers on a fixed dictionary, one atom per column."""
    count = atoms.shape[1]
    return Chain([layers.Fixed(atoms.T), layers.Diagonal(count), layers.Dense(count, 1)])


def _units(groups: list[tuple[int, ...]], n: int) -> Chain:
    return Chain([layers.Masked.of_groups(groups, n), layers.Dense(len(groups), 1)])


def _few(count: int, what: Regularizer, units: str) -> None:
    if count > _MOST_UNITS:
        msg = f"{what!r} needs {count} {units}, more than {_MOST_UNITS}; use fewer features"
        raise NoParameterizationError(msg)


def _square(n: int) -> int:
    """Return the number of features, of which a matrix n by n is made."""
    return validate.integer("n_features", n, low=1, high=MOST_SQUARE)


def _scaled_inputs(scale: FloatArray, network: Chain) -> Chain:
    _square(len(scale))
    return Chain([layers.Fixed(np.diag(scale)), network])


def _lp(penalty: r.Lp, n: int) -> Chain:
    if penalty.p > 1:
        if penalty.p == 2:
            return Dense((n, 1, 1))
        msg = (
            f"no network of two layers has the cost {penalty!r}: the ball of the dual norm would "
            "have to be a spectrahedron, which l_p norms have for p = 1, 2 and infinity only, and "
            "other depths are not homogeneous of degree 1. Nearest are L1(), L2() and LInf(); a "
            "dictionary of many points of the unit ball, regularizers.Atomic, comes as near as you "
            "like"
        )
        raise NoParameterizationError(msg)
    return Diagonal(n, _depth_of(penalty, penalty.p))


def _l_inf(penalty: r.LInf, n: int) -> Chain:
    _few(2 ** min(n - 1, 60), penalty, "hidden units, one per vector of signs")
    return _dictionary(sign_vectors(n).T)


def _group_lasso(penalty: r.GroupLasso, n: int) -> Chain:
    network = Grouped(penalty.groups, 1, 1)
    if penalty.weights is None:
        return network
    scale = np.empty(n)
    for group, weight in zip(penalty.groups, penalty.weights, strict=True):
        scale[list(group)] = 1 / weight
    return _scaled_inputs(scale, network)


def _mixed_group(penalty: r.MixedGroup, n: int) -> Chain:
    n_diagonal = _depth_of(penalty, penalty.p)
    depth = _depth_of(penalty, penalty.power)
    if depth == n_diagonal:
        return Diagonal(n, depth)
    return Grouped(penalty.groups, n_diagonal, depth - n_diagonal)


def _exclusive(penalty: r.ExclusiveLasso, n: int) -> Chain:
    _few(math.prod(map(len, penalty.groups)), penalty, "hidden units, one per transversal")
    return _units(list(itertools.product(*penalty.groups)), n)


def _k_support(penalty: r.KSupport, n: int) -> Chain:
    if penalty.k == 1:
        return Diagonal(n, 2)
    if penalty.k >= n:
        return Dense((n, 1, 1))
    _few(math.comb(n, penalty.k), penalty, f"hidden units, one per {penalty.k} features")
    return _units(list(itertools.combinations(range(n), penalty.k)), n)


def _owl(penalty: r.OWL, n: int) -> Chain:
    _few((3 ** min(n, 30) - 1) // 2, penalty, "hidden units, one per signed subset")
    return _dictionary(owl_atoms(np.array(penalty.weights)).T)


def _elastic_net(penalty: r.ElasticNet, _n: int) -> Chain:
    msg = (
        f"no network has the cost {penalty!r}: a predictor that is a polynomial of the weights and "
        "costs like |b| near 0 cannot cost like b^2 far away. Two ways that are exact: the map "
        "ElasticNet.weights_to_predictor of single weights, which is no polynomial; or a network "
        "for L1, Diagonal(n, 2), trained on ElasticNet.augment(X, y), which adds the squared part "
        "to the loss"
    )
    raise NoParameterizationError(msg)


def _infimal(penalty: r.InfimalConvolution, n: int) -> Chain:
    _square(n)
    parts = [parameterize(part, n) for part in (penalty.first, penalty.second)]
    found = [what_is(part) for part in parts]
    if any(f is None or f.power != 1 or f.regularizer is None for f in found):
        msg = f"no network is known for {penalty!r}: its parts must be costs themselves"
        raise NoParameterizationError(msg)
    scaled = []
    unit = np.ones(n)
    for part, known, wanted in zip(parts, found, (penalty.first, penalty.second), strict=True):
        degree = bounds.homogeneous_degree(part)
        assert known is not None
        # What is known of a network may bear another name than the regularizer that was asked for.
        constant = float(known.value(unit) / wanted.value(unit))
        if constant == 1:
            scaled.append(part)
        elif degree is not None:
            scaled.append(_scaled_inputs(np.full(n, constant ** (degree / 2)), part))
        else:
            msg = f"no network is known for {penalty!r}: {known} cannot be scaled"
            raise NoParameterizationError(msg)
    return parallel(scaled)


_MAKERS: dict[type[Regularizer], Callable[[Any, int], Chain]] = {
    r.L1: lambda _, n: Diagonal(n, 2),
    r.WeightedL1: lambda x, n: _scaled_inputs(1 / np.array(x.weights), Diagonal(n, 2)),
    r.L2: lambda _, n: Dense((n, 1, 1)),
    r.SquaredL2: lambda _, n: Dense((n, 1)),
    r.LInf: _l_inf,
    r.Lp: _lp,
    r.GroupLasso: _group_lasso,
    r.MixedGroup: _mixed_group,
    r.LatentGroupLasso: lambda x, n: _units(list(x.groups), n),
    r.ExclusiveLasso: _exclusive,
    r.KSupport: _k_support,
    r.OWL: _owl,
    r.ElasticNet: _elastic_net,
    r.TotalVariation: lambda _, n: _dictionary(np.tril(np.ones((_square(n), n)))),
    r.Huber: lambda _, n: parallel([Dense((_square(n), 1)), Diagonal(n, 2)]),
    r.FourierL1: lambda _, n: Convolution(n, n, 2),
    r.FourierLp: lambda x, n: Convolution(n, n, _depth_of(x, x.p)),
    r.Atomic: lambda x, _: _dictionary(np.array(x.atoms)),
    r.InfimalConvolution: _infimal,
}


def verify(
    network: Chain,
    regularizer: Regularizer,
    *,
    n_samples: int = 48,
    tolerance: float = 1e-7,
    rng: Seed = 0,
    n_threads: int | None = None,
) -> Verification:
    """Check on random predictors that a network's cost is a multiple of a regularizer.

    Parameters
    ----------
    network : Chain
        Such as `parameterize` returns.
    regularizer : Regularizer
        What its cost should be.
    n_samples : int, default 48
        Random predictors: dense, sparse, constant in size, smooth, of several scales.
    tolerance : float, default 1e-7
        Relative.
    rng : seed or Generator, default 0
    n_threads : int, optional
        As in `train`.

    Returns
    -------
    Verification
        True if it passed.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> from linnet_fast import regularizers
    >>> check = lf.verify(lf.Diagonal(4, n_layers=2), regularizers.L1())
    >>> bool(check), round(check.constant, 9)
    (True, 2.0)
    >>> bool(lf.verify(lf.Diagonal(4, n_layers=2), regularizers.L2()))
    False
    """
    checked_network(network, Chain)
    validate.instance("regularizer", regularizer, Regularizer)  # type: ignore[type-abstract]
    limit = validate.real("tolerance", tolerance, at_least=0)
    matrix = regularizer._n_axes == 2
    if not matrix and network.n_outputs != 1:
        msg = f"network must have one output for {regularizer!r}, got {network.n_outputs}"
        raise ValueError(msg)
    shape = (network.n_outputs, network.n_inputs)
    regularizer._check("network", shape if matrix else shape[1:])
    entries = network.n_outputs * network.n_inputs
    most = max(_MOST_NUMBERS // (entries + network.n_weights), 1)
    count = validate.integer("n_samples", n_samples, low=1, high=min(most, 10**6))
    generator = checked_generator(rng)
    threads = machine.checked_threads(n_threads)
    samples = _samples(network, count, generator)
    cost = representation_cost(
        network,
        samples if network.n_outputs > 1 else samples[:, 0],
        rng=generator,
        n_threads=threads,
    )
    values = regularizer.value(samples if matrix else samples[:, 0])
    power = _power(network, regularizer)
    reached = np.isfinite(cost.upper)
    n_exact = int(cost.exact.sum())
    differ = np.isinf(cost.value) != np.isinf(values)
    # What was not found, or is beyond float64, says nothing of the domain.
    if bool((differ & ~np.isnan(cost.value)).any()):
        return Verification(False, math.nan, power, math.inf, n_exact, count)
    reached &= np.isfinite(values)
    if not reached.any():
        return Verification(False, math.nan, power, math.nan, n_exact, count)
    cost_value, penalty_value = cost.upper[reached], values[reached] ** power
    constant = float(np.median(cost_value / penalty_value))
    predicted = constant * penalty_value
    deviation = np.maximum(
        np.abs(cost_value - predicted),
        np.where(cost.exact[reached], 0, predicted - cost.lower[reached]),
    )
    worst = float(np.max(deviation / predicted))
    passed = worst <= limit and n_exact == count
    return Verification(passed, constant, power, worst, n_exact, count)


def _samples(network: Chain, count: int, rng: np.random.Generator) -> FloatArray:
    """Return predictors of many kinds, none of them 0."""
    shape = (network.n_outputs, network.n_inputs)
    samples = rng.standard_normal((count, *shape))
    kinds = np.arange(count) % 4
    sparse = rng.random(samples.shape) < 0.3
    samples[kinds == 1] *= sparse[kinds == 1]
    samples[kinds == 2] = np.sign(samples[kinds == 2])
    samples[kinds == 3] = np.cumsum(samples[kinds == 3], axis=-1)
    empty = ~samples.any(axis=(1, 2))
    samples[empty, 0, 0] = 1.0
    return np.asarray(samples * np.exp(rng.uniform(-2, 2, count))[:, None, None])


def _power(network: Chain, regularizer: Regularizer) -> float:
    """Return the exponent between cost and value: the ratio of their degrees."""
    degree = bounds.homogeneous_degree(network)
    if degree is None:
        return 1.0
    unit = np.ones((network.n_outputs, network.n_inputs))
    unit = unit if regularizer._n_axes == 2 else unit[0]
    one, two = float(regularizer.value(unit)), float(regularizer.value(2 * unit))
    four = float(regularizer.value(4 * unit))
    if not (one > 0 and math.isfinite(four)):
        return 1.0
    homogeneity = math.log2(two / one)
    if abs(math.log2(four / two) - homogeneity) > 1e-9:
        return 1.0
    return 2 / degree / homogeneity
