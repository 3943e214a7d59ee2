"""What the moments of the data say: modes that learn one by one, and how far from exactly so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from linnet_fast._base import algebra, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.base import Loss
from linnet_fast.losses.squared import SquaredLoss

_EPS = float(np.finfo(np.float64).eps)
_NO_MODE = 1e-12  # singular values of cross_cov below this times the largest are rounding
_NEAR = 1e-7  # closer singular values have singular vectors too uncertain to take as they are


@dataclass(frozen=True, eq=False, repr=False)
class JointDecomposition:
    """Bases in which `cross_cov` is diagonal and `input_cov` as nearly so as may be.

    ``cross_cov = left diag(sigma) right^T`` and ``input_cov = right (diag(lam) + offdiagonal)
    right^T``. Where `offdiagonal` is 0 the data commute, and gradient descent from an aligned start
    moves each mode ``left[:, i] right[:, i]^T`` by itself.

    Attributes
    ----------
    left : ndarray of float64, shape (*run, out, out)
        Orthonormal columns: left singular vectors of `cross_cov`.
    right : ndarray of float64, shape (*run, in, in)
        Orthonormal columns: right singular vectors of `cross_cov`.
    sigma : ndarray of float64, shape (*run, min(out, in))
        Singular values of `cross_cov`, descending; 0 if below 1e-12 of the largest.
    lam : ndarray of float64, shape (*run, in)
        Power of the inputs along each column of `right`; 0 if that is rounding noise.
    offdiagonal : ndarray of float64, shape (*run, in, in)
        Symmetric, zero diagonal: what keeps the modes from being independent.
    defect_spectral, defect_frobenius : ndarray of float64, shape (*run)
        Norm of `offdiagonal` over that of `input_cov`: spectral norms, Frobenius norms. From 0 to
        about 1; 0 if `input_cov` is 0.
    commutator : ndarray of float64, shape (*run)
        ``|A B - B A| / (2 |A| |B|)`` in Frobenius norms, A = input_cov, B = cross_cov^T cross_cov:
        needs no basis, but does not see what couples modes of equal sigma.

    See Also
    --------
    joint_decomposition : makes it.
    """

    left: FloatArray
    right: FloatArray
    sigma: FloatArray
    lam: FloatArray
    offdiagonal: FloatArray
    defect_spectral: FloatArray
    defect_frobenius: FloatArray
    commutator: FloatArray

    def __repr__(self) -> str:
        """Show sizes and the largest defect; the bases are too long to show."""
        return (
            f"JointDecomposition(n_inputs={self.lam.shape[-1]}, n_outputs={self.left.shape[-1]}, "
            f"run_shape={self.sigma.shape[:-1]}, defect_spectral<={self.defect_spectral.max():.2g})"
        )

    @property
    def targets(self) -> FloatArray:
        """Strength ``sigma / lam`` at which each mode rests, shape (*run, min(out, in)).

        0 where sigma is 0. Infinite where only lam is 0, which moments of data never have.
        """
        lam = self.lam[..., : self.sigma.shape[-1]]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.sigma > 0, self.sigma / lam, 0.0)


class NonCommutingError(ValueError):
    """A closed form was asked of data whose modes do not learn independently.

    Attributes
    ----------
    defect : float
        The largest ``defect_spectral`` of the runs.
    """

    def __init__(self, message: str, defect: float = float("nan")) -> None:
        super().__init__(message)
        self.defect = defect


def joint_decomposition(loss: SquaredLoss) -> JointDecomposition:
    """Return the bases in which the moments are diagonal, or most nearly so.

    The bases are singular vectors of `cross_cov`. What these leave open is used to make `input_cov`
    diagonal: rotations among modes of equal sigma, and the basis of the inputs that no output
    depends on.

    Parameters
    ----------
    loss : SquaredLoss
        The moments; all runs are decomposed at once.

    Returns
    -------
    JointDecomposition
        With all run axes of `loss`. Modes of equal sigma come in the order of ascending lam, which
        is descending strength; inputs with sigma = 0 in that of descending lam.

    Raises
    ------
    TypeError
        If `loss` is not a SquaredLoss.

    Notes
    -----
    The data commute exactly if inputs are whitened, if targets are the inputs (an autoencoder), and
    for balanced one-hot inputs. Singular values count as equal if they agree to rounding. Nearly
    equal ones (to 1e-7 of the largest) have ill-determined singular vectors; these are rotated to
    diagonalise `input_cov` too if that can be done to rounding.

    The cost is that of a singular value decomposition of each run's moments.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014. The assumption of joint diagonal form is after G.
    Gidel, F. Bach, S. Lacoste-Julien, "Implicit regularization of discrete gradient dynamics in
    linear neural networks", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> modes = joint_decomposition(SquaredLoss(np.diag([1.0, 2.0]), np.diag([1.0, 3.0]), 10.0))
    >>> modes.sigma.tolist(), modes.lam.tolist(), modes.targets.tolist()
    ([3.0, 1.0], [2.0, 1.0], [1.5, 1.0])
    >>> modes
    JointDecomposition(n_inputs=2, n_outputs=2, run_shape=(), defect_spectral<=0)
    """
    validate.instance("loss", loss, SquaredLoss)
    cov = validate.unbroadcast(loss.input_cov, keep=2)
    cov = cov / 2 + cov.mT / 2
    cross = validate.unbroadcast(loss.cross_cov, keep=2)
    lead = np.broadcast_shapes(cov.shape[:-2], cross.shape[:-2])  # of runs that may differ
    n_in = loss.n_inputs

    def per_run(array: FloatArray, keep: int) -> FloatArray:
        return np.broadcast_to(array, (*lead, *array.shape[array.ndim - keep :])).copy()

    # Modes that data have are found by the core: sweeps keep what is made of them, and it has to have
    # the same bits everywhere.
    left, sigma, right_t = algebra.svd(cross)
    sigma = np.where(sigma > _NO_MODE * sigma[..., :1], sigma, 0.0)
    left, sigma = per_run(_completed(left), 2), per_run(sigma, 1)
    right = per_run(_completed(right_t.mT), 2)
    size = np.abs(np.linalg.eigvalsh(cov)).max(axis=-1)  # spectral norm
    scale = _power_of_two(size)[..., None, None]
    unit = cov / scale  # so that nothing below overflows, and nothing is rounded
    size = np.where(size > 0, size / scale[..., 0, 0], 1.0)
    for run in np.ndindex(*lead):
        _rotate(left[run], sigma[run], right[run], np.broadcast_to(unit, (*lead, n_in, n_in))[run])

    inner = algebra.product(right.mT, algebra.product(unit, right))
    inner = (inner + inner.mT) / 2
    lam = np.diagonal(inner, axis1=-2, axis2=-1)
    lam = np.where(np.abs(lam) > n_in * _EPS * size[..., None], lam, 0.0)
    off = inner * (1 - np.eye(n_in))
    frobenius = np.linalg.norm(unit, axis=(-2, -1))
    frobenius = np.where(frobenius > 0, frobenius, 1.0)
    top = sigma[..., :1]
    square = np.zeros((*lead, n_in))
    square[..., : sigma.shape[-1]] = (sigma / np.where(top > 0, top, 1.0)) ** 2
    # In the basis `right` the commutator has entries B_ij (sigma_j^2 - sigma_i^2): no cancellation.
    bracket = np.linalg.norm(off * (square[..., None, :] - square[..., :, None]), axis=(-2, -1))
    power = np.linalg.norm(square, axis=-1)
    bracket = bracket / (2 * frobenius * np.where(power > 0, power, 1.0))

    def full(array: FloatArray, keep: int) -> FloatArray:
        return np.broadcast_to(array, (*loss.run_shape, *array.shape[array.ndim - keep :]))

    return JointDecomposition(
        left=full(left, 2),
        right=full(right, 2),
        sigma=full(sigma, 1),
        lam=full(lam * scale[..., 0], 1),
        offdiagonal=full(off * scale, 2),
        defect_spectral=full(np.abs(np.linalg.eigvalsh(off)).max(axis=-1) / size, 0),
        defect_frobenius=full(np.linalg.norm(off, axis=(-2, -1)) / frobenius, 0),
        commutator=full(bracket, 0),
    )


def require_commuting(
    loss: SquaredLoss, formula: str, instead: str, tol: float = 1e-8
) -> JointDecomposition:
    """Return the joint decomposition of commuting data, and refuse other data.

    Parameters
    ----------
    loss : SquaredLoss
        The moments.
    formula : str
        What needs them to commute: the first words of the error.
    instead : str
        What to use for other data: the last words of the error.
    tol : float, default 1e-8
        Largest ``defect_spectral`` that passes, >= 0.

    Returns
    -------
    JointDecomposition

    Raises
    ------
    TypeError
        If `loss` is not a SquaredLoss.
    NonCommutingError
        If the defect of a run is larger than `tol`.

    Examples
    --------
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss([[2.0, 1.0], [1.0, 2.0]], [[3.0, 0.0], [0.0, 1.0]], 10.0)
    >>> require_commuting(loss, "aligned_flow", "GradientFlow")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    linnet_fast.rank_dynamics.data.NonCommutingError: aligned_flow needs commuting data: ...
    """
    modes = joint_decomposition(loss)
    bad = modes.defect_spectral > tol
    if bad.any():
        worst = int(modes.defect_spectral.argmax())
        figures = ", ".join(
            f"{name} {getattr(modes, name).flat[worst]:.2g}"
            for name in ("defect_spectral", "defect_frobenius", "commutator")
        )
        runs = f" in {np.count_nonzero(bad)} of {bad.size} runs, the worst with" if bad.ndim else ""
        msg = (
            f"{formula} needs commuting data: in the singular basis of cross_cov, input_cov must "
            f"be diagonal to {tol:g} of its size, got{runs} {figures}; use {instead} instead"
        )
        raise NonCommutingError(msg, float(modes.defect_spectral.flat[worst]))
    return modes


def checked_layers(
    name: str, value: object, loss: Loss, kind: type[Loss] = SquaredLoss
) -> tuple[FloatArray, ...]:
    """Return weights of any depth as float64 arrays that fit each other and `loss`.

    Parameters
    ----------
    name : str
        What errors call them.
    value : tuple of array_like, shapes (*run, widths[l + 1], widths[l])
        At least one layer; run axes broadcast.
    loss : Loss
        Gives the first and the last width.
    kind : type, default SquaredLoss
        What it has to be.

    Returns
    -------
    tuple of ndarray of float64

    Raises
    ------
    TypeError
        If `value` is not a tuple or list of arrays of real numbers, or `loss` no `kind`.
    ValueError
        If a shape does not fit, run axes do not broadcast, or a number is not finite.
    """
    validate.instance("loss", loss, kind)
    if not isinstance(value, (tuple, list)):
        msg = f"{name} must be a tuple of arrays, one per layer, got {type(value).__name__}"
        raise TypeError(msg)
    if not value:
        msg = f"{name} must have at least one layer, got none"
        raise ValueError(msg)
    arrays = [validate.real_array(f"{name}[{i}]", layer) for i, layer in enumerate(value)]
    rows = [array.shape[-2] if array.ndim >= 2 else 0 for array in arrays]
    widths = [loss.n_inputs, *rows[:-1], loss.n_outputs]
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    layers = cast(
        "tuple[FloatArray, ...]", validate.weights(name, arrays, shapes, dtype=np.float64)
    )
    validate.broadcast_runs(
        loss=loss.run_shape, **{name: np.broadcast_shapes(*(w.shape[:-2] for w in layers))}
    )
    return layers


def _rotate(left: FloatArray, sigma: FloatArray, right: FloatArray, unit: FloatArray) -> None:
    """Rotate, in place, what the singular vectors of one run leave open; `unit` has norm 1 or so."""
    n_in = len(unit)
    rank = int(np.count_nonzero(sigma))
    if n_in - rank > 1:
        null = slice(rank, n_in)
        right[:, null] = right[:, null] @ _eigenvectors(
            -(right[:, null].T @ unit @ right[:, null]), lambda a: np.linalg.eigh(a)[1]
        )
    if rank == 0:
        return
    relative = sigma[:rank] / sigma[0]
    same = 8 * max(len(left), n_in) * _EPS
    for block in _groups(relative, _NEAR):
        spread = relative[block]
        cov = _within(unit, right[:, block])
        if spread[0] - spread[-1] > same:
            # A sum of two matrices that commute is diagonal where both are.
            rotation = _eigenvectors(cov + np.diag(spread - spread.mean()))
            turned = algebra.product(rotation.T * spread, rotation)
            if np.abs(turned - np.diag(np.diag(turned))).max() > same:
                continue
            order = np.argsort(-np.diag(turned), kind="stable")
            rotation, value = rotation[:, order], sigma[0] * np.diag(turned)[order]
            _turn(left, right, block, rotation)
            sigma[block] = value
    relative = sigma[:rank] / sigma[0]
    for block in _groups(relative, same):
        _turn(left, right, block, _eigenvectors(_within(unit, right[:, block])))
        sigma[block] = sigma[block].mean()


def _groups(descending: FloatArray, gap: float) -> Iterator[slice]:
    """Yield the stretches of two or more numbers in which neighbours differ by at most `gap`."""
    ends = [*np.flatnonzero(-np.diff(descending) > gap) + 1, len(descending)]
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        if end - begin > 1:
            yield slice(int(begin), int(end))


def _completed(columns: FloatArray) -> FloatArray:
    """Return orthonormal columns and, after them, others that make them a basis."""
    n, k = columns.shape[-2:]
    if n == k:
        return columns
    padded = np.zeros((*columns.shape[:-2], n, n))
    padded[..., :k] = columns
    return np.concatenate([columns, algebra.orthonormal_columns(padded)[..., k:]], axis=-1)


def _power_of_two(size: FloatArray) -> FloatArray:
    """Return the powers of two near numbers, where these are uncertain by rounding too; 1 for 0."""
    fraction, exponent = np.frexp(size)
    # Norms tend to be round numbers: where the power changes, they are not.
    power = np.ldexp(1.0, np.minimum(exponent - (fraction < 0.73), 1023))
    return np.where(size > 0, power, 1.0)


def _within(symmetric: FloatArray, columns: FloatArray) -> FloatArray:
    return algebra.product(columns.T, algebra.product(symmetric, columns))


def _turn(left: FloatArray, right: FloatArray, block: slice, rotation: FloatArray) -> None:
    for basis in (left, right):
        basis[:, block] = algebra.product(basis[:, block], rotation)


def _eigenvectors(
    symmetric: FloatArray, find: Callable[[FloatArray], FloatArray] = algebra.eigenvectors
) -> FloatArray:
    """Return eigenvectors in ascending order; the identity for a multiple of it, up to rounding.

    So a basis is left alone where there is nothing to gain.
    """
    n = len(symmetric)
    rest = symmetric - np.diag(np.full(n, np.trace(symmetric) / n))
    if np.abs(rest).max() <= 8 * n * _EPS:
        return np.eye(n)
    return find(symmetric)
