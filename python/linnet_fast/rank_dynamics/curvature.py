"""Curvature of the loss as a function of the weights: products with the Hessian, its spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement, pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy

from linnet_fast._base import memory, validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.base import Loss
from linnet_fast.losses.registry import checked_loss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.rank_dynamics.data import checked_layers, joint_decomposition
from linnet_fast.training.compatible import check_problem
from linnet_fast.training.observe import hessian_product, observe

_EPS = float(np.finfo(np.float64).eps)
_DENSE = 64  # matrices up to this size are diagonalised whole
_UNCOUPLED = 1e-10  # modes whose inputs are less correlated than this count as independent


def hessian_vector_product(
    loss: Loss,
    weights: Sequence[npt.ArrayLike],
    directions: Sequence[npt.ArrayLike],
    *,
    network: Chain | None = None,
) -> tuple[FloatArray, ...]:
    """Return the Hessian of the loss, as a function of all weights, times a direction.

    Parameters
    ----------
    loss : Loss
        One with a second derivative: all but a `CustomLoss`.
    weights : tuple of array_like, shapes (*run, *network.shapes[l])
        Where.
    directions : tuple of array_like, shapes as `weights`
        What to multiply; run axes of all three broadcast, so that a leading axis here makes many
        products at one point.
    network : Chain, optional
        The architecture; by default the weights are the matrices of dense layers.

    Returns
    -------
    tuple of ndarray of float64, shapes (*run, *network.shapes[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, run axes do not broadcast, a number is not finite, the loss has no
        second derivative, or products overflow or do not fit into memory.

    Notes
    -----
    Exact: the derivative of the gradient by the product rule. The cost is about that of two to three
    gradients; the Hessian is never formed.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)  # (1/2) (2 - a b)^2
    >>> first, second = hessian_vector_product(loss, ([[3.0]], [[1.0]]), ([[1.0]], [[0.0]]))
    >>> float(first[0, 0]), float(second[0, 0])  # b^2 and 2 a b - 2
    (1.0, 4.0)
    """
    chain, layers = _checked(loss, weights, network)
    moves = validate.weights("directions", directions, chain.shapes, dtype=np.float64)
    validate.broadcast_runs(
        loss=loss.run_shape,
        weights=_run_shape(layers, chain),
        directions=_run_shape(moves, chain),
    )
    result = hessian_product(chain, loss, layers, moves)
    if not all(np.isfinite(part).all() for part in result):
        msg = "weights and directions must give products within float64, got an overflow"
        raise ValueError(msg)
    return result


def sharpness(
    loss: Loss, weights: Sequence[npt.ArrayLike], *, network: Chain | None = None
) -> FloatArray:
    """Return the largest eigenvalue of the Hessian of the loss at the given weights.

    Near a minimum gradient descent is stable for step sizes up to 2 over it. Along trainings it is
    the observable ``"sharpness"``; more eigenvalues are `linnet_fast.observables.hessian_eigenvalues`.

    Parameters
    ----------
    loss : Loss
        One with a second derivative: all but a `CustomLoss`.
    weights : tuple of array_like, shapes (*run, *network.shapes[l])
        Where. Run axes broadcast with those of `loss`.
    network : Chain, optional
        The architecture; by default the weights are the matrices of dense layers.

    Returns
    -------
    ndarray of float64, shape (*run)
        The largest eigenvalue, to 1e-8 relative and better; the one largest in magnitude may be
        negative.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, run axes do not broadcast, a number is out of range, or the loss has no
        second derivative.

    Notes
    -----
    Lanczos iteration on products with the Hessian, see `linnet_fast.observables.hessian_eigenvalues`.

    References
    ----------
    J. M. Cohen, S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar, "Gradient descent on neural networks
    typically occurs at the edge of stability", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([4.0, 1.0]), 17.0)
    >>> layer = np.diag([2.0, 1.0])
    >>> round(float(sharpness(loss, (layer, layer))), 9)  # |W_1|^2 + |W_2|^2
    8.0
    """
    chain, layers = _checked(loss, weights, network)
    validate.broadcast_runs(loss=loss.run_shape, weights=_run_shape(layers, chain))
    values: FloatArray = observe(chain, loss, layers, ("sharpness",))["sharpness"]
    if not np.isfinite(values).all():
        msg = "weights must have a Hessian within float64, got an overflow"
        raise ValueError(msg)
    return values


def _checked(
    loss: object, weights: object, network: Chain | None
) -> tuple[Chain, tuple[FloatArray, ...]]:
    """Return network and weights that fit the loss, which has a second derivative."""
    known = checked_loss(loss)
    if "curvature" not in known.supports:
        msg = f"loss must have a second derivative, and a {type(known).__name__} has none"
        raise ValueError(msg)
    if network is None:
        layers = checked_layers("weights", weights, known, type(known))
        widths = [known.n_inputs, *(layer.shape[-2] for layer in layers)]
        return Dense(widths), layers
    check_problem(network, known)
    given = validate.weights("weights", weights, network.shapes, dtype=np.float64)
    return network, cast("tuple[FloatArray, ...]", given)


def _run_shape(arrays: Sequence[npt.NDArray[Any]], network: Chain) -> tuple[int, ...]:
    return np.broadcast_shapes(
        *(w.shape[: w.ndim - len(s)] for w, s in zip(arrays, network.shapes, strict=True))
    )


def minimum_sharpness(
    loss: SquaredLoss, n_layers: int = 2, *, rcond: float | None = None, rtol: float = 1e-8
) -> FloatArray:
    """Return the sharpness at the balanced factors of the least-squares solution.

    That is where gradient descent from a small start ends if no hidden layer is narrower than the
    rank of the solution; its last steps are stable for step sizes below 2 over this number.

    Parameters
    ----------
    loss : SquaredLoss
        The moments of the data; they need not commute.
    n_layers : int, default 2
        Number of layers, at least 1.
    rcond : float, optional
        Eigenvalues of `input_cov` up to this times the largest are left out of the solution, the
        least-squares solution of least norm, with whatever `cross_cov` has there. By default eps * in,
        and `cross_cov` must have nothing there.
    rtol : float, default 1e-8
        Relative accuracy where there is no closed form, > 0.

    Returns
    -------
    ndarray of float64, shape (*run)
        For commuting data the largest ``lam_i sum over l < L of w_i^(2 l / L) w_j^(2 (L - 1 - l) /
        L)`` of any input i and output j, with ``w = sigma / lam`` (0 beyond the modes) and 0^0 = 1:
        for two layers ``lam_i (w_i + w_j)``, for whitened inputs ``L sigma_1^(2 - 2 / L)``.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range.

    Notes
    -----
    For other data it is the largest eigenvalue of Z -> sum over l of B_l B_l^T Z C A_l^T A_l C,
    with C the square root of `input_cov` and B_l and A_l the products of the layers above and below
    layer l: found by Lanczos iteration, one run after the other.

    With whitened inputs no minimum is flatter: two layers ``a, b`` of a mode with ``a^2 - b^2 = c``
    have sharpness ``sqrt(c^2 + 4 sigma^2)``. Otherwise there may be flatter ones.

    References
    ----------
    R. Mulayoff, T. Michaeli, "Unique properties of flat minima in deep networks", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss(np.diag([4.0, 1.0]), np.diag([2.0, 1.5]), 4.0)
    >>> float(minimum_sharpness(loss))  # 4 (0.5 + 1.5)
    8.0
    """
    validate.instance("loss", loss, SquaredLoss)
    n_layers = validate.integer("n_layers", n_layers, low=1, high=2**15)
    cut = _EPS * loss.n_inputs if rcond is None else validate.real("rcond", rcond, at_least=0)
    rtol = validate.real("rtol", rtol, above=0)
    modes = joint_decomposition(loss)
    k = modes.sigma.shape[-1]
    lam = modes.lam
    top = lam.max(axis=-1, keepdims=True)
    kept = lam > cut * top
    strengths = np.where(kept[..., :k], modes.targets, 0.0)
    closed = _balanced_sharpness(strengths, lam, n_layers)
    weight = np.where(lam > 0, 1 / np.sqrt(np.where(lam > 0, lam, 1.0)), 0.0)
    correlation = np.abs(modes.offdiagonal) * weight[..., :, None] * weight[..., None, :]
    coupled = correlation.max(axis=(-2, -1)) > _UNCOUPLED
    cov = np.broadcast_to(loss.input_cov, (*loss.run_shape, *loss.input_cov.shape[-2:]))
    cross = np.broadcast_to(loss.cross_cov, (*loss.run_shape, *loss.cross_cov.shape[-2:]))
    for run in map(tuple, np.argwhere(coupled)):
        closed[run] = _coupled_sharpness(cov[run], cross[run], n_layers, cut, rtol)
    return closed


def aligned_hessian_eigenvalues(
    sigma: npt.ArrayLike,
    lam: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    n_hidden: int | None = None,
    n_outputs: int | None = None,
) -> FloatArray:
    """Return all eigenvalues of the Hessian of two layers that are aligned with commuting data.

    In the modes of the data the layers are diagonal, with entries `first` and `second`: at saddles,
    on plateaus, at minima, and all along the way from an aligned start.

    Parameters
    ----------
    sigma : array_like, shape (*batch, min(in, out))
        Singular values of `cross_cov`, >= 0.
    lam : array_like, shape (*batch, in)
        Power of the inputs of each mode, >= 0.
    first : array_like, shape (*batch, k), k <= min(in, hidden)
        Diagonal of the first layer; entries that are not given are 0.
    second : array_like, shape (*batch, k), k <= min(hidden, out)
        Diagonal of the second layer, likewise.
    n_hidden : int, optional
        Hidden units; by default the larger k.
    n_outputs : int, optional
        Outputs; by default as many as `sigma` has entries.

    Returns
    -------
    ndarray of float64, shape (*batch, n_hidden * (in + out))
        Ascending, each as often as its multiplicity.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If shapes do not match, or a number is out of range.

    Notes
    -----
    The Hessian falls apart into one block for each pair of modes, of at most 4 by 4: modes i and j
    with the entries ij and ji of both layers. The cost is O(max(in, hidden, out)^2).

    A balanced mode of strength w has the eigenvalues ``3 lam w - sigma`` along it and ``sigma - lam
    w`` across. At 0 they are +-sigma_i, and on the plateau of the first k modes the lowest is
    -sigma_{k+1}.

    Examples
    --------
    >>> aligned_hessian_eigenvalues([2.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]).tolist()
    [-2.0, -2.0, -1.0, -1.0, 1.0, 1.0, 2.0, 2.0]
    """
    arrays = {
        "sigma": validate.real_array("sigma", sigma, at_least=0),
        "lam": validate.real_array("lam", lam, at_least=0),
        "first": validate.real_array("first", first),
        "second": validate.real_array("second", second),
    }
    for name, array in arrays.items():
        if array.ndim == 0:
            msg = f"{name} must have shape (*batch, modes), got ()"
            raise ValueError(msg)
    size = {name: array.shape[-1] for name, array in arrays.items()}
    n_in = size["lam"]
    n_out = size["sigma"] if n_outputs is None else n_outputs
    n_hid = max(size["first"], size["second"]) if n_hidden is None else n_hidden
    n_out = validate.integer("n_outputs", n_out, low=1, high=2**31)
    n_hid = validate.integer("n_hidden", n_hid, low=1, high=2**31)
    if size["sigma"] != min(n_in, n_out):
        msg = (
            f"sigma must have min(in, out) = {min(n_in, n_out)} entries for {n_in} inputs (the "
            f"entries of lam) and {n_out} outputs, got {size['sigma']}"
        )
        raise ValueError(msg)
    for name, most in (("first", min(n_in, n_hid)), ("second", min(n_hid, n_out))):
        if size[name] > most:
            msg = f"{name} must have at most {most} entries, got {size[name]}"
            raise ValueError(msg)
    batch = validate.broadcast_runs(**{n: array.shape[:-1] for n, array in arrays.items()})
    sizes = {"lam": n_in, "n_hidden": n_hid, "n_outputs": n_out}
    n = max(sizes.values())
    # A block of 4 x 4 for each pair of modes.
    largest = next(name for name, size in sizes.items() if size == n)
    memory.check_room(largest, 8 * 16 * math.prod(batch) * n * n)
    s, power, a, b = (_padded(array, batch, n) for array in arrays.values())
    with np.errstate(over="ignore", invalid="ignore"):
        residual = s - power * a * b
        top = power.max(axis=-1) * np.maximum(np.abs(a).max(axis=-1), np.abs(b).max(axis=-1)) ** 2
    if not (np.isfinite(residual).all() and np.isfinite(top).all()):
        larger = "first" if np.abs(a).max() >= np.abs(b).max() else "second"
        msg = f"{larger} must give a Hessian within float64, got an overflow"
        raise ValueError(msg)
    values = _block_eigenvalues(power, a, b, residual, (n_in, n_hid, n_out))
    return np.sort(np.concatenate([v.reshape(*batch, -1) for v in values], axis=-1), axis=-1)


def _largest_eigenvalue(apply: Callable[[FloatArray], FloatArray], n: int, rtol: float) -> float:
    """Return the largest eigenvalue of a symmetric operator on (..., n)."""
    if n <= _DENSE:
        matrix = apply(np.eye(n))
        return float(np.linalg.eigvalsh(matrix / 2 + matrix.T / 2)[-1])
    begin = np.random.default_rng(0).standard_normal(n)
    scale = float(np.abs(apply(begin)).max())
    if scale == 0:  # the iteration would not start
        return 0.0
    operator = scipy.sparse.linalg.LinearOperator(
        (n, n), matvec=lambda v: apply(v.ravel()) / scale, dtype=np.float64
    )
    (value,) = scipy.sparse.linalg.eigsh(
        operator, k=1, which="LA", v0=begin, tol=rtol, return_eigenvectors=False
    )
    return float(value) * scale


def _balanced_sharpness(strengths: FloatArray, lam: FloatArray, n_layers: int) -> FloatArray:
    """Return the largest lam_i sum_l w_i^(2 l / L) w_j^(2 (L - 1 - l) / L)."""
    lead = strengths.shape[:-1]
    by_input = _padded(strengths, lead, lam.shape[-1])
    # The sum grows with w_j: only the strongest output matters.
    by_output = strengths.max(axis=-1, keepdims=True)
    total = np.zeros_like(lam)
    for layer in range(n_layers):
        total += by_input ** (2 * layer / n_layers) * by_output ** (
            2 * (n_layers - 1 - layer) / n_layers
        )
    return np.asarray((lam * total).max(axis=-1))


def _coupled_sharpness(
    cov: FloatArray, cross: FloatArray, n_layers: int, rcond: float, rtol: float
) -> float:
    """Return the sharpness of the balanced factors of one run's least-squares solution."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    keep = values > rcond * values[-1]
    inverse = np.where(keep, 1 / np.where(keep, values, 1.0), 0.0)
    u, s, vt = np.linalg.svd((cross @ vectors * inverse) @ vectors.T, full_matrices=False)
    s = np.where(s > _EPS * max(cross.shape) * s[0], s, 0.0)  # roots of rounding are not small
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    right = vt @ root
    terms = []
    for layer in range(n_layers):
        above, below = s ** (2 * (n_layers - 1 - layer) / n_layers), s ** (2 * layer / n_layers)
        left_factor = np.eye(len(u)) if layer == n_layers - 1 else (u * above) @ u.T
        right_factor = cov if layer == 0 else (right.T * below) @ right
        terms.append((left_factor, right_factor))

    def apply(flat: FloatArray) -> FloatArray:
        z = flat.reshape(*flat.shape[:-1], *cross.shape)
        total = np.zeros_like(z)
        for left_factor, right_factor in terms:
            total += left_factor @ z @ right_factor
        return total.reshape(flat.shape)

    return _largest_eigenvalue(apply, cross.size, rtol)


def _padded(array: FloatArray, lead: tuple[int, ...], n: int) -> FloatArray:
    """Return the array with zeros up to n entries on its last axis and the leading axes `lead`."""
    result = np.zeros((*lead, n))
    result[..., : array.shape[-1]] = array
    return result


def _block_eigenvalues(
    lam: FloatArray, a: FloatArray, b: FloatArray, residual: FloatArray, sizes: tuple[int, int, int]
) -> list[FloatArray]:
    """Return the eigenvalues of the blocks of pairs i <= j, (*batch, pairs, size of block) each.

    All arrays are padded with 0 to the largest of `sizes`, (in, hidden, out). Between these sizes
    all pairs have blocks of the same form.
    """
    n_in, n_hid, n_out = sizes
    regions = [np.arange(*ends) for ends in pairwise(sorted({0, *sizes}))]
    found = []
    for one, other in combinations_with_replacement(regions, 2):
        if one is other:
            i = j = one
            block = np.zeros((*lam.shape[:-1], i.size, 2, 2))
            block[..., 0, 0] = (lam * b * b)[..., i]
            block[..., 0, 1] = block[..., 1, 0] = (lam * a * b - residual)[..., i]
            block[..., 1, 1] = (lam * a * a)[..., i]
            exists = [one[0] < min(n_in, n_hid), one[0] < min(n_hid, n_out)]
            found.append(_existing_eigenvalues(block, exists))
            i, j = (one[k] for k in np.triu_indices(one.size, 1))
        else:
            i, j = (grid.ravel() for grid in np.meshgrid(one, other))
        if not i.size:
            continue
        # Entries ij of the first and the second layer, then entries ji.
        block = np.zeros((*lam.shape[:-1], i.size, 4, 4))
        for at, p, q in ((0, i, j), (2, j, i)):
            block[..., at, at] = lam[..., p] * b[..., q] ** 2
            block[..., at, at + 1] = block[..., at + 1, at] = lam[..., p] * a[..., p] * b[..., q]
            block[..., at + 1, at + 1] = lam[..., p] * a[..., p] ** 2
            block[..., at, 3 - at] = block[..., 3 - at, at] = -residual[..., p]
        exists = []
        for p, q in ((i[0], j[0]), (j[0], i[0])):
            exists += [p < n_in and q < n_hid, p < n_hid and q < n_out]
        found.append(_existing_eigenvalues(block, exists))
    return found


def _existing_eigenvalues(block: FloatArray, exists: Sequence[bool]) -> FloatArray:
    """Return the eigenvalues of the rows and columns that exist."""
    index = np.flatnonzero(exists)
    return np.asarray(np.linalg.eigvalsh(block[..., index[:, None], index]), dtype=np.float64)
