"""Which regularizer a network's weight decay is on its predictor."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from linnet_fast import layers
from linnet_fast import regularizers as r
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import blocks, bounds, convolutions, matrices, structure
from linnet_fast.costs.solvers.atoms import owl_atoms, sign_vectors
from linnet_fast.layers.pattern import Layer
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.regularizers import Regularizer

MOST_SQUARE = 8192
"""Features of which matrices, features by features, are written out."""
_MOST_NUMBERS = 2**28
_LONG = 300  # texts beyond this many characters are abridged by str


@dataclass(frozen=True)
class InducedRegularizer:
    """What a network's representation cost is: ``constant * regularizer.value(P) ** power``.

    Parameters
    ----------
    name : str
        In words.
    regularizer : Regularizer or None
        None if it is none of `linnet_fast.regularizers`.
    constant, power : float
        The factor, and the exponent.
    """

    name: str
    regularizer: Regularizer | None = None
    constant: float = 1.0
    power: float = 1.0

    def value(self, predictor: npt.ArrayLike) -> FloatArray:
        """Return the cost of predictors by the regularizer.

        Parameters
        ----------
        predictor : array_like, shape (*batch, D) or (*batch, out, in)

        Returns
        -------
        ndarray, shape (*batch)

        Raises
        ------
        TypeError
            If there is no regularizer, or `predictor` is not made of real numbers.
        ValueError
            If `predictor` is empty, not finite, or of a shape that does not fit.
        """
        if self.regularizer is None:
            msg = f"{self.name} has no regularizer of this library; use representation_cost"
            raise TypeError(msg)
        p = self.regularizer._checked("predictor", predictor)
        if p.size > _MOST_NUMBERS:
            msg = f"predictor must have at most {_MOST_NUMBERS:,} entries in all, got {p.size:,}"
            raise ValueError(msg)
        with np.errstate(over="ignore"):
            return np.asarray(self.constant * self.regularizer.value(p) ** self.power)

    def __str__(self) -> str:
        """Show the formula, or the name if there is none."""
        if self.regularizer is None:
            return self.name
        factor = "" if self.constant == 1 else f"{self.constant:g} * "
        power = "" if self.power == 1 else f" ** {self.power:g}"
        text = repr(self.regularizer)
        if len(text) > _LONG:
            text = f"{type(self.regularizer).__name__}(...)"
        return f"{factor}{text}{power}"


def what_is(network: Chain) -> InducedRegularizer | None:
    """Return which regularizer a network's weight decay is on its predictor, where that is known.

    Parameters
    ----------
    network : Chain

    Returns
    -------
    InducedRegularizer or None
        None if no formula is known; `representation_cost` still gives costs or bounds.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> str(lf.what_is(lf.Diagonal(5, n_layers=3)))
    '3 * Lp(p=0.6666666666666666)'
    >>> str(lf.what_is(lf.Dense((4, 3, 3))))
    '2 * NuclearNorm()'
    >>> print(lf.what_is(lf.Residual(width=4, n_blocks=2)))
    residual: sum over singular values s of min_a 2 a^2 + s^2 / (1 + 1 a)^4
    """
    checked_network(network, Chain)
    for namer in _NAMERS:
        found = namer(network)
        if found is not None:
            return found
    return None


def _name_scaled(network: Chain) -> InducedRegularizer | None:
    """Name a network behind one factor on all inputs."""
    first, rest = structure.fixed_matrix(network.layers[0]), network.layers[1:]
    if first is None or not rest or first.shape[0] != first.shape[1]:
        return None
    factor = float(first[0, 0])
    if factor <= 0 or (first != factor * np.eye(len(first))).any():
        return None
    inner = Chain(rest, share=network.share[1:])
    degree, found = bounds.homogeneous_degree(inner), what_is(inner)
    if degree is None or found is None or found.regularizer is None:
        return None
    return replace(found, constant=found.constant * factor ** (-2 / degree))


def _name_sum(network: Chain) -> InducedRegularizer | None:
    """Name two networks side by side."""
    paths = structure.paths(network)
    if paths is None or len(paths) != 2:
        return None
    parts = [what_is(Chain(path)) for path in paths]
    one, two = parts
    if one is None or two is None or one.regularizer is None or two.regularizer is None:
        return None
    same = math.isclose(one.constant, two.constant, rel_tol=1e-12)
    convex = one.regularizer.is_convex and two.regularizer.is_convex
    if not (same and convex and one.power == two.power == 1):
        return None
    both = r.InfimalConvolution(one.regularizer, two.regularizer)
    return InducedRegularizer("infimal convolution", both, one.constant)


def _name_dense(network: Chain) -> InducedRegularizer | None:
    chain = structure.simplified(network)
    if chain.is_shared or not all(map(structure.is_dense, chain.layers)):
        return None
    depth = len(chain.layers)
    if network.n_outputs == 1:
        if depth == 1:
            return InducedRegularizer("squared l2 norm", r.SquaredL2())
        return InducedRegularizer("power of the l2 norm", r.L2(), depth, 2 / depth)
    if depth == 1:
        return InducedRegularizer("squared Frobenius norm")
    full = min(network.widths[1:-1]) >= min(network.n_inputs, network.n_outputs)
    bound = "" if full else f", for matrices of rank up to {min(network.widths[1:-1])}"
    if depth == 2:
        return InducedRegularizer(f"nuclear norm{bound}", r.NuclearNorm(), 2)
    return InducedRegularizer(f"Schatten quasi-norm{bound}", r.SchattenP(2 / depth), depth)


def _name_grouped(network: Chain) -> InducedRegularizer | None:
    scale, inner = _without_scale(network)
    form = matrices.grouped_form(inner)
    if form is None or network.n_outputs != 1:
        return None
    groups, n, m, _ = form
    depth = n + m
    if m == 0:
        if scale is not None:
            if depth != 2:
                return None
            return InducedRegularizer("weighted l1", r.WeightedL1(tuple(1 / scale)), 2)
        if depth == 1:
            return InducedRegularizer("squared l2 norm", r.SquaredL2())
        penalty: Regularizer = r.L1() if depth == 2 else r.Lp(2 / depth)
        return InducedRegularizer("l_p", penalty, depth)
    if depth == 2:
        weights = None
        if scale is not None:
            by_group = [scale[list(g)] for g in groups]
            if any(np.ptp(x) for x in by_group):
                return None
            weights = tuple(float(1 / x[0]) for x in by_group)
        return InducedRegularizer("group lasso", r.GroupLasso(tuple(groups), weights), 2)
    if scale is not None:
        return None
    return InducedRegularizer("mixed groups", r.MixedGroup(tuple(groups), 2 / n, 2 / depth), depth)


def _without_scale(network: Chain) -> tuple[FloatArray | None, Chain]:
    """Return the positive factors of the inputs, None if there are none, and the rest."""
    first = structure.fixed_matrix(network.layers[0])
    if first is None or len(network.layers) < 2 or first.shape[0] != first.shape[1]:
        return None, network
    diagonal = np.diag(first).copy()
    if (first != np.diag(diagonal)).any() or not (diagonal > 0).all():
        return None, network
    if any(number is None for number in network.share[1:]):
        return None, network
    return diagonal, Chain(network.layers[1:], share=network.share[1:])


def _name_units(network: Chain) -> InducedRegularizer | None:
    chain = structure.simplified(network)
    if chain.is_shared or len(chain.layers) != 2 or not structure.is_dense(chain.layers[1], 1):
        return None
    groups = structure.sum_of_inputs(chain.layers[0])
    if groups is None:
        return None
    n, sizes = network.n_inputs, {len(group) for group in groups}
    every = (
        {tuple(c) for c in itertools.combinations(range(n), max(sizes))}
        if (len(sizes) == 1 and math.comb(n, max(sizes)) == len(set(groups)))
        else set()
    )
    if every and every == set(groups):
        return InducedRegularizer("k-support norm", r.KSupport(max(sizes)), 2)
    seen = tuple(group for group in groups if group)
    partition = _transversals(seen, n)
    if partition is not None:
        return InducedRegularizer("exclusive lasso", r.ExclusiveLasso(partition), 2)
    return InducedRegularizer("latent group lasso", r.LatentGroupLasso(seen), 2)


def _transversals(units: tuple[tuple[int, ...], ...], n: int) -> tuple[tuple[int, ...], ...] | None:
    """Return the partition of which the units are all ways to take one member of each part."""
    if n > MOST_SQUARE:
        return None
    together = np.zeros((n, n), dtype=bool)
    for unit in units:
        together[np.ix_(unit, unit)] = True
    parts = {tuple(np.flatnonzero(~row).tolist()) for row in together & ~np.eye(n, dtype=bool)}
    if sorted(i for part in parts for i in part) != list(range(n)):
        return None
    ordered = tuple(sorted(parts))
    if math.prod(map(len, ordered)) != len(units):  # or there may be very many choices
        return None
    every = {tuple(sorted(choice)) for choice in itertools.product(*ordered)}
    return ordered if set(units) == every else None


def _name_dictionary(network: Chain) -> InducedRegularizer | None:
    chain = structure.simplified(network)
    matrix = structure.fixed_matrix(chain.layers[0])
    if matrix is None or chain.is_shared or network.n_outputs != 1 or len(chain.layers) != 3:
        return None
    if not isinstance(chain.layers[1], layers.Diagonal):
        return None
    if not structure.is_dense(chain.layers[2], 1) or not matrix.any(axis=1).all():
        return None
    n = network.n_inputs
    if matrix.shape == (n, n) and np.array_equal(matrix, np.triu(np.ones((n, n)))):
        return InducedRegularizer("total variation", r.TotalVariation(), 2)
    if n <= 15 and matrix.shape == (2 ** (n - 1), n) and np.array_equal(matrix, sign_vectors(n)):
        return InducedRegularizer("largest entry", r.LInf(), 2)
    weights = _owl_weights(matrix)
    if weights is not None:
        return InducedRegularizer("ordered weighted l1", r.OWL(tuple(weights.tolist())), 2)
    return InducedRegularizer("gauge of atoms", r.Atomic(matrix.T), 2)  # type: ignore[arg-type]


def _owl_weights(atoms: FloatArray) -> FloatArray | None:
    """Return the weights of the OWL norm of which the rows are the atoms, up to sign."""
    count, n = atoms.shape
    if n > 12 or count != (3**n - 1) // 2:
        return None
    sizes = np.count_nonzero(atoms, axis=1)
    # Atoms with k entries are of size 1 / (w_1 + ... + w_k).
    largest = np.array([np.abs(atoms[sizes == k]).max(initial=0.0) for k in range(1, n + 1)])
    if not (largest > 0).all():
        return None
    weights = np.diff(1 / largest, prepend=0.0)
    if (weights < 0).any() or (np.diff(weights) > 1e-12 * weights[0]).any():
        return None
    weights = np.minimum.accumulate(weights)
    expected = np.array(sorted(map(tuple, owl_atoms(weights))))
    found = np.array(sorted(map(tuple, atoms)))
    return weights if np.allclose(found, expected, rtol=1e-12, atol=0) else None


def _name_convolution(network: Chain) -> InducedRegularizer | None:
    found = convolutions.circular(network)
    if found is None:
        return None
    depth, first = network.n_arrays, found[0]
    line = len(first.extents) == 1 and first.in_channels == 1
    if all(map(convolutions.is_full, found)):
        if line:
            penalty: Regularizer = r.FourierL1() if depth == 2 else r.FourierLp(2 / depth)
            return InducedRegularizer("Fourier modes", penalty, depth)
        return InducedRegularizer(f"{depth} times the mean of Fourier modes^(2/{depth})")
    if not line:
        return None
    taps = {len(x.offsets[0]) for x in found}
    if taps == {1}:
        return InducedRegularizer("power of the l2 norm", r.L2(), depth, 2 / depth)
    return InducedRegularizer(
        f"kernels of width {'/'.join(map(str, sorted(taps)))}: "
        f"{depth} (min_p mean |fft(b)|^2 / p^{depth - 1})^(1/{depth}) over nonnegative "
        "trigonometric polynomials p of mean 1"
    )


def _name_others(network: Chain) -> InducedRegularizer | None:
    if min(network.n_outputs, network.n_inputs) > MOST_SQUARE:
        return None
    zero = np.zeros((1, network.n_outputs, network.n_inputs))
    if matrices.skip_beside_product(network, zero, 0.0) is not None:
        form = matrices.skip_form(network)
        if form is not None and (form[0] == 1).all() and (form[1] == 1).all():
            return InducedRegularizer("Huber's function", r.Huber())
        return InducedRegularizer("Huber's function, scaled")
    chain = structure.simplified(network)
    residuals: list[Layer] = [x for x in chain.layers if isinstance(x, layers.Residual)]
    for solver, what in (
        (blocks.residual_blocks, "singular values"),
        (blocks.residual_diagonal, "coordinates"),
        (convolutions.residual_full_width, "Fourier modes"),
    ):
        if residuals and solver(network, zero, 0.0) is not None:
            n = len(residuals)
            scale = residuals[0].scale  # type: ignore[attr-defined]
            embedded = structure.is_dense(chain.layers[0])
            end = f"2 s / (1 + {scale:g} a)^{n}" if embedded else f"s^2 / (1 + {scale:g} a)^{2 * n}"
            return InducedRegularizer(f"residual: sum over {what} s of min_a {n} a^2 + {end}")
    return None


_NAMERS = (
    _name_scaled,
    _name_dense,
    _name_grouped,
    _name_units,
    _name_dictionary,
    _name_convolution,
    _name_others,
    _name_sum,
)
