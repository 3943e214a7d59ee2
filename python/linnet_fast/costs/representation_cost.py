"""Representation costs: what a predictor costs in the squared norm of a network's weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from linnet_fast._base import machine, notebook, seeds, validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import (
    blocks,
    convolutions,
    limits,
    masks,
    matrices,
    polynomials,
    search,
)
from linnet_fast.costs.solvers.solution import EXACT_GAP, Solution
from linnet_fast.networks.chain import Chain, checked_network

_RTOL = 1e-12
_MOST_NUMBERS = 2**28  # of predictors and weights, of several predictors at once

_SOLVERS: tuple[Callable[[Chain, FloatArray, float], Solution | None], ...] = (
    matrices.dense,
    matrices.affine,
    matrices.grouped,
    matrices.tied,
    blocks.residual_blocks,
    blocks.residual_diagonal,
    blocks.two_layer_blocks,
    blocks.from_fixed_vector,
    blocks.product_of_blocks,
    matrices.skip_beside_product,
    convolutions.full_width,
    convolutions.one_tap,
    convolutions.taps_of_a_subgroup,
    convolutions.groups,
    convolutions.patches,
    convolutions.residual_full_width,
    polynomials.products,
    matrices.dictionary,
    masks.hidden_units,
)


@dataclass(frozen=True, eq=False)
class RepresentationCost:
    """The least squared norm of weights that give a predictor.

    Parameters
    ----------
    value : ndarray of float64, shape (*batch)
        The cost; where it is not exact, the upper bound. inf: it is proved that no weights give
        the predictor. NaN: no cost is known, as none were found or it is beyond float64.
    lower, upper : ndarray of float64, shape (*batch)
        Bounds. The upper one is the squared norm of `weights`, and inf where `value` is inf or NaN.
    weights : tuple of ndarray, shapes (*batch, *network.shapes[l])
        Weights whose network is the predictor and whose squared norm is `upper`; NaN where there
        are none.
    exact : ndarray of bool, shape (*batch)
        Whether the bounds agree to 1e-8, relatively.
    why : ndarray of str, shape (*batch)
        Where `value` is inf or NaN, why: "impossible: ..." with the proof, "not found: ..." or
        "beyond float64: ..."; "" elsewhere.
    method : str
        How it was found.
    network : Chain
    predictor : ndarray, shape (*batch, in) or (*batch, out, in)
        What was asked for.
    """

    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    weights: tuple[FloatArray, ...] = field(repr=False)
    exact: npt.NDArray[np.bool_]
    why: npt.NDArray[np.str_]
    method: str
    network: Chain = field(repr=False)
    predictor: FloatArray = field(repr=False)

    def _repr_html_(self) -> str:
        columns = (self.value, self.lower, self.upper, self.exact, self.why)
        rows = zip(*(np.ravel(column).tolist() for column in columns), strict=True)
        numbered = (
            (i, f"{value:.6g}", f"{low:.6g}", f"{high:.6g}", "yes" if exact else "no", why)
            for i, (value, low, high, exact, why) in enumerate(rows)
        )
        head = ("", "value", "lower", "upper", "exact", "why")
        return notebook.table(
            f"RepresentationCost: {self.network!r}, {self.method}", head, numbered
        )

    @property
    def violation(self) -> FloatArray:
        """How far the network of `weights` is from the predictor, by its largest entry; (*batch).

        Relative to the predictor's largest entry; NaN where there are no weights.
        """
        n_axes = 1 if self.network.n_outputs == 1 else 2
        axes = tuple(range(-n_axes, 0))
        with np.errstate(over="ignore", invalid="ignore"):
            product = self.network.product(self.weights).reshape(self.predictor.shape)
            miss = np.abs(product - self.predictor).max(axis=axes)
        size = np.abs(self.predictor).max(axis=axes)
        return np.asarray(miss / np.where(size > 0, size, 1.0))


def representation_cost(
    network: Chain,
    predictor: npt.ArrayLike,
    *,
    rtol: float = _RTOL,
    n_starts: int = 16,
    rng: Seed = 0,
    n_threads: int | None = None,
) -> RepresentationCost:
    """Return what predictors cost: ``R(P) = min ||w||^2`` over weights w with network(w) = P.

    Training with weight decay c minimises, in effect, loss(P) + c/2 R(P) over predictors.

    Parameters
    ----------
    network : Chain
        The architecture.
    predictor : array_like, shape (*batch, in), or (*batch, out, in)
        Of a network with one output, vectors; else end-to-end matrices.
    rtol : float, default 1e-12
        Singular values, and Fourier modes, below this part of a predictor's largest count as 0.
        Deep networks would turn their rounding errors into costs.
    n_starts : int, default 16
        Of the search, for networks whose cost is not known in closed form or as a convex problem.
        Of networks of two layers some are tried first, the rest where bounds do not meet by then.
    rng : seed or Generator, default 0
        Of that search.
    n_threads : int, optional
        As in `train`.

    Returns
    -------
    RepresentationCost
        Exact wherever theory gives the cost: dense, diagonal and grouped networks, shared weights,
        one trained layer among fixed ones; circular convolutions and a dense top (full width, on
        lines and images, with input channels, over finite groups, one tap, taps of a subgroup,
        kernels of any width and depth with dilations); disjoint patches; convolutions without
        padding that multiply polynomials; one hidden layer with a mask; dictionaries; residual
        networks (dense, embedded, diagonal, full-width, two-layer blocks, moves of a fixed vector)
        and a skip beside a product. For any other chain, certified bounds: the upper one from
        weights whose predictor is right to 1e-13, the lower one from duality for networks of two
        layers, where they often meet, else from norms of the layers and from wider networks.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, a number is out of range or not finite, the entries' sizes add up
        to more than float64 holds, the predictors and weights would be more than 2**28 numbers, or
        the cost has to be searched for and weights and entries of a predictor are more than 6,000.

    Notes
    -----
    There is no factor 1/2, and for a network of degree L in its weights
    ``R(s P) = s**(2/L) R(P)``.

    Impossible are: ranks above a hidden width, entries where the network has none, signs that
    shared weights cannot have, roots of polynomials that are not real, and, where a search found
    nothing, relations of degree up to 4 that all predictors of the network obey (looked for in
    predictors of random weights) and this one breaks by far more than rounding.

    References
    ----------
    Z. Dai, M. Karzand, N. Srebro, "Representation Costs of Linear Neural Networks: Analysis and
    Design", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> beta = np.array([1.0, 2.0, 3.0, 4.0])
    >>> round(float(lf.representation_cost(lf.Diagonal(4, n_layers=2), beta).value), 9)
    20.0
    >>> cost = lf.representation_cost(lf.Convolution(4, kernel_size=2, n_layers=3), beta)
    >>> round(float(cost.value), 9), bool(cost.exact)
    (8.019983498, True)
    >>> network = lf.Convolution(4, kernel_size=2, n_layers=3)
    >>> np.allclose(network.product(cost.weights), beta)
    True
    """
    p, batch = _checked(network, predictor)
    cut = _checked_rtol(rtol)
    starts = validate.integer("n_starts", n_starts, low=1, high=10**6)
    threads = machine.checked_threads(n_threads)
    generator = seeds.generator(rng)
    flat = np.array(p.reshape(math.prod(batch), network.n_outputs, network.n_inputs))
    with np.errstate(over="ignore", under="ignore"):  # squares that overflow cost inf
        found = _solved(network, flat, cut, starts, generator, threads).settled()
    upper, lower = found.upper, found.lower
    value = np.where(np.isinf(upper) & ~np.isinf(lower), np.nan, upper)
    # inf is exact if both bounds say so, and is not subtracted from itself.
    exact = (upper == lower) | (lower >= upper * (1 - EXACT_GAP))
    weights = tuple(
        w.reshape(*batch, *s) for w, s in zip(found.weights, network.shapes, strict=True)
    )
    return RepresentationCost(
        value.reshape(batch),
        lower.reshape(batch),
        upper.reshape(batch),
        weights,
        exact.reshape(batch),
        found.reasons.astype(np.str_).reshape(batch),
        found.method,
        network,
        p,
    )


def depth_limit(network: Chain, predictor: npt.ArrayLike, *, rtol: float = _RTOL) -> FloatArray:
    """Return what the cost of a predictor tends to as a network grows deep.

    Of networks that are homogeneous in their weights, the limit of cost / layers as layers like the
    inner ones are added; of residual ones, the limit of the cost as blocks are added while
    ``scale * sqrt(n_blocks)`` stays.

    Parameters
    ----------
    network : Chain
        Of a family with a closed form: dense (the limit is the rank), diagonal and grouped (inputs
        or groups that are used), circular convolutions (of full width, the part of the Fourier
        modes that are used; of kernels, 1 / max_p min p over those modes), convolutions over
        groups, patches, and residual networks.
    predictor, rtol
        As in `representation_cost`.

    Returns
    -------
    ndarray of float64, shape (*batch)
        inf where no weights give the predictor.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, or no limit is known for the network.

    References
    ----------
    After Z. Dai, M. Karzand, N. Srebro, "Representation Costs of Linear Neural Networks: Analysis
    and Design", NeurIPS 2021.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> float(lf.depth_limit(lf.Diagonal(4), [1.0, 0.0, 2.0, 0.0]))
    2.0
    >>> network = lf.Residual(width=1, n_blocks=100, scale=0.1)
    >>> round(float(lf.depth_limit(network, [2.0])), 9)
    1.44756404
    """
    p, batch = _checked(network, predictor)
    cut = _checked_rtol(rtol)
    flat = np.array(p.reshape(math.prod(batch), network.n_outputs, network.n_inputs))
    found = limits.limit(network, flat, cut)
    if found is None:
        msg = f"network must be of a family whose limit is known, got {network!r}"
        raise ValueError(msg)
    return np.asarray(found).reshape(batch)


def _checked(network: Chain, predictor: npt.ArrayLike) -> tuple[FloatArray, tuple[int, ...]]:
    """Return the predictor as an array, and its batch."""
    checked_network(network, Chain)
    p = validate.real_array("predictor", predictor)
    shape = (network.n_outputs, network.n_inputs)
    inner = shape[1:] if network.n_outputs == 1 else shape
    if p.shape[max(p.ndim - len(inner), 0) :] != inner:
        expected = ", ".join(map(str, inner))
        msg = f"predictor must have shape (*batch, {expected}), got {p.shape}"
        raise ValueError(msg)
    with np.errstate(over="ignore"):
        sums = np.abs(validate.unbroadcast(p, keep=len(inner))).sum(
            axis=tuple(range(-len(inner), 0))
        )
    # So singular values and Fourier modes, which are no larger, are numbers.
    if np.isinf(sums).any():
        msg = "predictor must have entries whose sizes add up to at most 1.8e308, got inf"
        raise ValueError(msg)
    batch = p.shape[: p.ndim - len(inner)]
    count, size = math.prod(batch), math.prod(shape) + network.n_weights
    if count > 1 and count * size > _MOST_NUMBERS:
        most = max(_MOST_NUMBERS // size, 1)
        msg = f"predictor must be of at most {most:,} predictors at once, got {count:,}"
        raise ValueError(msg)
    return p, batch


def _checked_rtol(rtol: float) -> float:
    cut = validate.real("rtol", rtol, at_least=0)
    if cut >= 1:
        msg = f"rtol must be < 1, got {cut:g}"
        raise ValueError(msg)
    return cut


def _solved(
    network: Chain,
    p: FloatArray,
    rtol: float,
    n_starts: int,
    rng: np.random.Generator,
    n_threads: int,
) -> Solution:
    found: Solution | None = None
    for solver in _SOLVERS:
        found = solver(network, p, rtol)
        if found is not None:
            break
    else:
        found = convolutions.kernels(network, p, rtol, n_threads)

    def searched(part: FloatArray) -> Solution:
        return search.search(network, part, n_starts=n_starts, rng=rng, n_threads=n_threads)

    if found is None:
        return searched(p)
    return found.filled(searched(p[found.is_open])) if found.is_open.any() else found
