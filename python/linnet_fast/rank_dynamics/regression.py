"""The best matrices of each rank, and those that a small start passes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.given import inputs_of, outputs_of
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import joint_decomposition

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, repr=False)
class ReducedRankPath:
    """The matrices of least loss among those of rank at most 0, 1, ..., K.

    Attributes
    ----------
    products : ndarray of float64, shape (*run, K + 1, out, in)
        The minimisers; of several the one of least norm.
    losses : ndarray of float64, shape (*run, K + 1)
        Their losses: descending.
    strengths : ndarray of float64, shape (*run, K)
        Singular values s_k of the targets' part that inputs explain, descending:
        ``losses[k - 1] - losses[k] = s_k**2 / 2``.

    See Also
    --------
    reduced_rank_regression : makes it.
    """

    products: FloatArray
    losses: FloatArray
    strengths: FloatArray

    def __repr__(self) -> str:
        """Show sizes."""
        n_out, n_in = self.products.shape[-2:]
        return (
            f"ReducedRankPath(n_inputs={n_in}, n_outputs={n_out}, n_ranks={self.n_ranks}, "
            f"run_shape={self.strengths.shape[:-1]})"
        )

    @property
    def n_ranks(self) -> int:
        """The largest rank K of the path."""
        return int(self.strengths.shape[-1])

    @property
    def ranks(self) -> npt.NDArray[np.intp]:
        """Rank of the last matrix, shape (*run): K, or fewer where no more helps."""
        return np.asarray(np.count_nonzero(self.strengths, axis=-1), dtype=np.intp)


class Factors(NamedTuple):
    """Factors of the minimisers: that of rank k is ``(left * strengths)[:, :k] right[:k]``."""

    left: FloatArray
    """Shape (*run, out, K): columns orthonormal, or 0 where the strength is for want of samples."""
    strengths: FloatArray
    """Shape (*run, K): descending; 0 if rounding."""
    right: FloatArray
    """Shape (*run, K, in)."""


def reduced_rank_regression(
    data: SquaredLoss | tuple[npt.ArrayLike, npt.ArrayLike], *, rank: int | None = None
) -> ReducedRankPath:
    """Return the whole path of reduced-rank regression, from rank 0 up.

    Parameters
    ----------
    data : SquaredLoss or tuple (X, Y)
        The moments, or the data themselves: inputs of shape (*run, n, in), outputs of shape (*run,
        n, out), one sample per row, of one output also (n,). The data give more digits: moments square the condition number
        of X.
    rank : int, optional
        Last rank K of the path, from 0 to min(out, in), which is the default.

    Returns
    -------
    ReducedRankPath
        With all run axes of `data`.

    Raises
    ------
    TypeError
        If `data` is neither a SquaredLoss nor a pair of arrays of real numbers, or `rank` is no
        integer.
    ValueError
        If `rank` is larger than min(out, in) or negative, shapes do not match, a number is not
        finite, or the losses overflow; or if `cross_cov` acts where `input_cov` vanishes, as that of
        data never does: the loss has no minimum.

    Notes
    -----
    With M = cross_cov C, C the pseudo-inverse of the square root of `input_cov`, and [M]_k the sum
    of the first k terms of its singular value decomposition, the minimiser is [M]_k C. It is unique
    up to inputs that do not occur iff s_k > s_{k+1}. From data, with X = U S V^T, it is [Y^T U]_k
    S^{-1} V^T and nothing is squared.

    Inputs may be linearly dependent, or fewer than outputs: eigenvalues of `input_cov` below eps *
    in times the largest (singular values of X below eps * max(n, in) times the largest) count as 0,
    as do strengths below eps * max(out, in) times the first.

    Losses from data are sums of squares and accurate when tiny; those from moments carry a rounding
    error of about 1e-16 times `output_power`.

    References
    ----------
    A. J. Izenman, "Reduced-rank regression for the multivariate linear model", J. Multivariate
    Analysis 5 (1975). G. C. Reinsel, R. P. Velu, "Multivariate Reduced-Rank Regression", Springer
    1998.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss(np.diag([4.0, 1.0]), np.diag([2.0, 1.5]), 4.0)
    >>> path = reduced_rank_regression(loss)
    >>> path.strengths.tolist(), path.losses.tolist()
    ([1.5, 1.0], [2.0, 0.875, 0.375])
    >>> np.abs(path.products[1]).tolist()  # the second mode: less correlated, but it explains more
    [[0.0, 0.0], [0.0, 1.5]]
    """
    if isinstance(data, tuple | list):
        x, y = _samples(data)
        last = _last_rank(rank, y.shape[-1], x.shape[-1])
        factors, rest = factors_of_data(x, y)
        runs = rest.shape
    else:
        loss = validate.instance("data", data, SquaredLoss)
        last = _last_rank(rank, loss.n_outputs, loss.n_inputs)
        factors = _factors_of_moments(loss)
        with np.errstate(over="ignore"):
            rest = (loss.output_power - np.sum(factors.strengths**2, axis=-1)) / 2
        runs = loss.run_shape
    with np.errstate(over="ignore", invalid="ignore"):
        unexplained = np.cumsum(factors.strengths[..., ::-1] ** 2, axis=-1)[..., ::-1] / 2
        end = np.zeros((*unexplained.shape[:-1], 1))
        losses = rest[..., None] + np.concatenate([unexplained, end], axis=-1)
    if not np.isfinite(losses).all():
        msg = "data must have losses within float64, got an overflow; rescale the data"
        raise ValueError(msg)
    products = _partial_sums(factors.left * factors.strengths[..., None, :], factors.right, last)
    strengths = factors.strengths[..., :last]
    return ReducedRankPath(
        np.broadcast_to(products, (*runs, *products.shape[-3:])),
        np.broadcast_to(losses[..., : last + 1], (*runs, last + 1)),
        np.broadcast_to(strengths, (*runs, last)),
    )


def sigma_ordered_path(loss: SquaredLoss) -> FloatArray:
    """Return the matrices made of the first k modes of the data, k = 0, 1, ..., min(out, in).

    Modes are in the order of descending sigma, in which a small start learns them if the data
    commute: ``W_k = sum over i <= k of sigma_i / lam_i left_i right_i^T``, with ``lam_i = right_i^T
    input_cov right_i``. Modes with sigma = 0 add nothing.

    Parameters
    ----------
    loss : SquaredLoss
        The moments; they need not commute.

    Returns
    -------
    ndarray of float64, shape (*run, min(out, in) + 1, out, in)
        It is the path of `reduced_rank_regression` if the data commute and ``sigma_i**2 / lam_i``
        descends as well: for whitened inputs, and for autoencoders.

    Raises
    ------
    TypeError
        If `loss` is not a SquaredLoss.
    ValueError
        If `cross_cov` acts where `input_cov` vanishes, which moments of data never do.

    References
    ----------
    After G. Gidel, F. Bach, S. Lacoste-Julien, "Implicit regularization of discrete gradient
    dynamics in linear neural networks", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss(np.diag([4.0, 1.0]), np.diag([2.0, 1.5]), 4.0)
    >>> np.abs(sigma_ordered_path(loss)[1]).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    modes = joint_decomposition(loss)
    k = modes.sigma.shape[-1]
    targets = modes.targets
    if not np.isfinite(targets).all():
        msg = (
            "loss must have cross_cov = 0 wherever input_cov = 0, as moments of data do, got a "
            "mode with sigma > 0 and lam = 0"
        )
        raise ValueError(msg)
    return _partial_sums(modes.left[..., :k] * targets[..., None, :], modes.right[..., :k].mT, k)


def factors_of_data(x: FloatArray, y: FloatArray, ridge: float = 0.0) -> tuple[Factors, FloatArray]:
    """Return the minimisers of 1/(2n) |Y - X P^T|^2 + ridge/2 |P|^2, and what stays at full rank.

    Parameters
    ----------
    x, y : ndarray of float64, shapes (*run, n, in) and (*run, n, out)
        Inputs and outputs.
    ridge : float, default 0
        At least 0.

    Returns
    -------
    factors : Factors
        With K = min(out, in).
    rest : ndarray of float64, shape (*run)
        The least value of the objective, whatever the rank.
    """
    n = x.shape[-2]
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    keep = s > _EPS * max(x.shape[-2:]) * s[..., :1]
    penalty = np.sqrt(n * ridge)
    size = np.hypot(s, penalty)
    inverse = np.where(keep, 1 / np.where(keep, size, 1.0), 0.0)
    shrink = np.where(keep, s, 0.0) * inverse  # 1 without ridge
    common = u.mT @ y
    factors = _factored((common * shrink[..., None]).mT, inverse[..., None] * vt, x.shape[-1])
    outside = y - u @ (keep[..., None] * common)
    # The part of Y within the range of X that ridge keeps from being fitted: 1 - shrink^2 of it.
    damped = (penalty * inverse)[..., None] * common
    with np.errstate(over="ignore"):
        rest = (np.sum(outside**2, axis=(-2, -1)) + np.sum(damped**2, axis=(-2, -1))) / (2 * n)
    return factors._replace(
        strengths=factors.strengths / np.sqrt(n), right=factors.right * np.sqrt(n)
    ), rest


def _factors_of_moments(loss: SquaredLoss) -> Factors:
    cov = validate.unbroadcast(loss.input_cov, keep=2)
    cross = validate.unbroadcast(loss.cross_cov, keep=2)
    values, vectors = np.linalg.eigh(cov / 2 + cov.mT / 2)
    keep = values > _EPS * loss.n_inputs * values[..., -1:]
    inverse = np.where(keep, 1 / np.sqrt(np.where(keep, values, 1.0)), 0.0)
    return _factored(
        cross @ (vectors * inverse[..., None, :]), inverse[..., None] * vectors.mT, loss.n_inputs
    )


def _factored(explained: FloatArray, back: FloatArray, n_in: int) -> Factors:
    """Return factors with min(out, in) terms from the explained part, (*run, out, r), r <= in."""
    n_out = explained.shape[-2]
    left, s, right = np.linalg.svd(explained, full_matrices=False)
    s = np.where(s > _EPS * max(n_out, n_in) * s[..., :1], s, 0.0)
    missing = min(n_out, n_in) - s.shape[-1]  # with fewer samples than inputs
    if missing:
        lead = [(0, 0)] * (s.ndim - 1)
        s = np.pad(s, [*lead, (0, missing)])
        left = np.pad(left, [*lead, (0, 0), (0, missing)])
        right = np.pad(right, [*lead, (0, missing), (0, 0)])
    return Factors(left, s, right @ back)


def _partial_sums(left: FloatArray, right: FloatArray, last: int) -> FloatArray:
    """Return the sums of the first 0, 1, ..., `last` terms left[:, i] right[i]."""
    terms = left.mT[..., :last, :, None] * right[..., :last, None, :]
    shape = (*terms.shape[:-3], last + 1, *terms.shape[-2:])
    sums = np.zeros(shape)
    np.cumsum(terms, axis=-3, out=sums[..., 1:, :, :])
    return sums


def _last_rank(rank: int | None, n_out: int, n_in: int) -> int:
    most = min(n_out, n_in)
    if rank is None:
        return most
    last = validate.integer("rank", rank, low=0, high=2**62)
    if last > most:
        msg = f"rank must be at most {most}, min(out, in) of {n_out} and {n_in}, got {last}"
        raise ValueError(msg)
    return last


def _samples(data: Sequence[npt.ArrayLike]) -> tuple[FloatArray, FloatArray]:
    if len(data) != 2:
        msg = f"data must be a SquaredLoss or a tuple (X, Y), got {len(data)} parts"
        raise TypeError(msg)
    x, y = inputs_of("data[0]", data[0]), outputs_of("data[1]", data[1])
    if x.shape[-2] != y.shape[-2]:
        msg = f"data must have equally many rows of both, got {x.shape[-2]} and {y.shape[-2]}"
        raise ValueError(msg)
    validate.broadcast_runs(**{"data[0]": x.shape[:-2], "data[1]": y.shape[:-2]})
    return x, y
