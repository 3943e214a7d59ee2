"""How far data whose modes are not quite independent stay from the closed forms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.rank_dynamics.data import joint_decomposition


def perturbation_bound(
    loss: SquaredLoss, *, strength: npt.ArrayLike, time: npt.ArrayLike
) -> FloatArray:
    """Return a bound on how far data that do not commute drive the layers from the closed form.

    It bounds ``|z(t) - z0(t)|``, the Frobenius norm of the difference of both layers together: z is
    gradient flow on the data, z0 the same without `offdiagonal`, which moves each mode by itself;
    both from the same balanced aligned start of two layers.

    Parameters
    ----------
    loss : SquaredLoss
        The moments.
    strength : array_like, shape (*run, k), k <= min(out, in)
        Start strengths of the modes, >= 0; 0 for those not given. Run axes broadcast.
    time : array_like, shape (*time)
        Times, >= 0; a single one has shape ().

    Returns
    -------
    ndarray of float64, shape (*run, *time)
        inf from the time on at which the bound proves nothing any more.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not match, run axes do not broadcast, or a number is out of range.

    See Also
    --------
    perturbed_limit : where the flow ends, to first order.

    Notes
    -----
    ``|B| sqrt(2 w) |W| (exp(mu t) - 1) / mu`` with B the off-diagonal part, w the largest strength
    of a mode at any time, W the strengths of all, and ``mu = sigma_1 + 1.5 |input_cov| w``, which
    bounds the residual as long as the layers stay within ``|W_1| |W_2| <= 1.5 w``. That holds while
    the bound is below ``(sqrt(1.5) - 1) sqrt(w)``. It is safe, and far from sharp: actual deviations
    grow at most like the residual's largest singular value on each plateau.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> cov = np.array([[1.0, 1e-6], [1e-6, 1.0]])
    >>> loss = SquaredLoss(cov, np.diag([2.0, 1.0]), 5.0)
    >>> bound = perturbation_bound(loss, strength=[0.01, 0.01], time=[0.0, 1.0, 2.0, 9.0])
    >>> bool(bound[0] == 0), bool(1e-6 < bound[1] < bound[2] < 0.1), bool(np.isinf(bound[3]))
    (True, True, True)
    """
    validate.instance("loss", loss, SquaredLoss)
    initial = validate.real_array("strength", strength, at_least=0)
    times = validate.real_array("time", time, at_least=0)
    data = joint_decomposition(loss)
    k = data.sigma.shape[-1]
    if initial.ndim == 0 or initial.shape[-1] > k:
        msg = f"strength must have shape (*run, at most {k}), got {initial.shape}"
        raise ValueError(msg)
    runs = validate.broadcast_runs(loss=loss.run_shape, strength=initial.shape[:-1])
    begin = np.zeros((*runs, k))
    begin[..., : initial.shape[-1]] = initial
    reached = np.maximum(begin, data.targets)  # each mode moves monotonically between these two
    largest = reached.max(axis=-1)

    def over_time(array: FloatArray) -> FloatArray:
        return np.broadcast_to(array, runs).reshape((*runs, *(1,) * times.ndim))

    # What overflows, or is 0 times infinity, proves nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        cov = np.abs(np.linalg.eigvalsh(loss.input_cov)).max(axis=-1)
        coupling = np.abs(np.linalg.eigvalsh(data.offdiagonal)).max(axis=-1)
        mu = over_time(data.sigma[..., 0] + 1.5 * cov * largest)
        growth = np.where(mu > 0, np.expm1(mu * times) / np.where(mu > 0, mu, 1.0), times)
        top = np.where(largest > 0, largest, 1.0)[..., None]
        size = largest * np.linalg.norm(reached / top, axis=-1)  # without squares of huge numbers
        force = over_time(coupling * np.sqrt(2 * largest) * size)
        bound = force * growth
        valid = bound <= (np.sqrt(1.5) - 1) * over_time(np.sqrt(largest))
    # Without coupling, and at the start, there is no difference.
    none = (over_time(coupling) == 0) | (times == 0)
    return np.where(none, 0.0, np.where(valid & np.isfinite(bound), bound, np.inf))


def perturbed_limit(loss: SquaredLoss) -> FloatArray:
    """Return where training ends, to first order in what keeps the data from commuting.

    Parameters
    ----------
    loss : SquaredLoss
        The moments; `input_cov` must have full rank.

    Returns
    -------
    ndarray of float64, shape (*run, out, in)
        ``left diag(sigma) (1/lam - 1/lam offdiagonal 1/lam) right^T``. The least-squares solution
        is within ``|offdiagonal|^2`` of it, up to a constant.

    Raises
    ------
    TypeError
        If `loss` is not a SquaredLoss.
    ValueError
        If inputs are linearly dependent.

    Examples
    --------
    >>> import numpy as np
    >>> from linnet_fast import SquaredLoss
    >>> loss = SquaredLoss([[1.0, 0.01], [0.01, 1.0]], np.diag([2.0, 1.0]), 5.0)
    >>> perturbed_limit(loss).round(6).tolist()  # exact: 1 / 0.9999 of it
    [[2.0, -0.02], [-0.01, 1.0]]
    """
    data = joint_decomposition(loss)
    if (data.lam <= 0).any():
        msg = "loss must have an input_cov of full rank, got inputs that are linearly dependent"
        raise ValueError(msg)
    k = data.sigma.shape[-1]
    inverse = 1 / data.lam
    middle = -inverse[..., :k, None] * data.offdiagonal[..., :k, :] * inverse[..., None, :]
    index = np.arange(k)
    middle[..., index, index] += inverse[..., :k]
    return (data.left[..., :k] * data.sigma[..., None, :]) @ middle @ data.right.mT
