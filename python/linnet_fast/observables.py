"""Makers of observables with parameters, for `Record`, `Stop` and `observe`.

Those without arrays are written as text, too, as in configuration files and on the command line:
``"hessian_eigenvalues(3)"``. Results call them by an identifier, ``hessian_eigenvalues_3``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy.typing as npt

from linnet_fast.records import measures
from linnet_fast.records.measures import Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet_fast.training.state import State

__all__ = [
    "hessian_eigenvalues",
    "kernel_distance",
    "ntk_eigenvalues",
    "overlap",
    "schatten_norm",
    "weight_distance",
]


def hessian_eigenvalues(k: int, which: Literal["largest", "both"] = "largest") -> Measure:
    """Return the observable of eigenvalues of the Hessian of the objective in all weights.

    Parameters
    ----------
    k : int
        How many, at least 1 and at most the number of weights.
    which : {"largest", "both"}
        Which ones.

    Returns
    -------
    Measure
        Of shape (k,), the largest eigenvalues, descending, each as often as its multiplicity; or (2,
        k), then the least ones, ascending.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Notes
    -----
    By Lanczos' method in blocks of k products with the Hessian, full orthogonalisation and thick
    restarts, to 1e-8 relative and better. It starts at fixed random vectors, never at those of an
    earlier record: a record depends on the weights at that record alone, and so has the same bits in
    any batch and after a continuation.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> network, loss = lf.Dense((2, 2, 2)), lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> zero = [np.zeros((2, 2))] * 2
    >>> top = lf.observables.hessian_eigenvalues(3, "both")
    >>> lf.observe(network, loss, zero, (top,))[top.name].round(9).tolist()
    [[2.0, 2.0, 1.0], [-2.0, -2.0, -1.0]]
    """
    return measures.hessian_eigenvalues(k, which)


def ntk_eigenvalues(k: int) -> Measure:
    """Return the observable of the largest eigenvalues of the neural tangent kernel.

    Parameters
    ----------
    k : int
        How many, at least 1 and at most the number of weights.

    Returns
    -------
    Measure
        Of shape (k,): eigenvalues of K / n, descending, K = J J^T of the outputs of all n samples by
        all weights; 0 beyond those that K has.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> network, loss = lf.Dense((2, 1, 1)), lf.SquaredLoss(np.eye(2), [[1.0, 0.0]], 1.0)
    >>> seen = lf.observe(network, loss, [[[3.0, 0.0]], [[2.0]]], ("ntk_eigenvalues(3)",))
    >>> abs(seen["ntk_eigenvalues_3"].round(9)).tolist()
    [13.0, 4.0, 0.0]
    """
    return measures.ntk_eigenvalues(k)


def schatten_norm(p: float) -> Measure:
    """Return the observable of a Schatten norm of the end-to-end matrix.

    Parameters
    ----------
    p : float
        1/64 to 1024, or inf: (sum of s^p)^(1/p) over the singular values s. 1 is the nuclear norm, 2
        that of Frobenius, inf the spectral one.

    Returns
    -------
    Measure
        Of shape ().

    Raises
    ------
    TypeError, ValueError
        If `p` is something else.

    Examples
    --------
    >>> schatten_norm(0.5)
    'schatten_norm(0.5)'
    >>> schatten_norm(0.5).name
    'schatten_norm_0p5'
    """
    return measures.schatten_norm(p)


def overlap(target: npt.ArrayLike | None = None, k: int = 1, *, name: str | None = None) -> Measure:
    """Return the observable of what the end-to-end matrix has of the modes of a target.

    Parameters
    ----------
    target : array_like, shape (*run, out, in), optional
        U diag(s) V^T; by default that of the loss: the end-to-end matrix of least squared loss, a
        teacher, the direction of a spherical law.
    k : int
        How many modes, the strongest ones.
    name : str, optional
        By which results have it; by default ``overlap_k``.

    Returns
    -------
    Measure
        Of shape (k,): u_i^T P v_i, signed. Where strengths of the target are equal its vectors, and
        so these numbers, are a choice.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> network, loss = lf.Dense((2, 2)), lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> seen = lf.observe(network, loss, [[[3.0, 1.0], [0.0, -0.5]]], ("overlap(2)",))
    >>> seen["overlap_2"].tolist()
    [3.0, -0.5]
    """
    return measures.overlap(k, target, name)


def weight_distance(state: State | Sequence[npt.ArrayLike], *, name: str | None = None) -> Measure:
    """Return the observable of the distance of all weights to given ones.

    Parameters
    ----------
    state : State or sequence of array_like, shapes network.shapes[l]
        From where; of a state each run has its own.
    name : str, optional
        By which results have it.

    Returns
    -------
    Measure
        Of shape (). The text ``"weight_distance"`` is the distance to the start of the training; one
        that is continued has to be given a state.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> network, loss = lf.Dense((1, 1)), lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    >>> far = lf.observables.weight_distance([[[5.0]]])
    >>> lf.observe(network, loss, [[[2.0]]], (far,))["weight_distance"].item()
    3.0
    """
    return measures.from_weights("weight_distance", state, name)


def kernel_distance(state: State | Sequence[npt.ArrayLike], *, name: str | None = None) -> Measure:
    """Return the observable of how far the tangent kernel has turned from that at given weights.

    Parameters
    ----------
    state : State or sequence of array_like, shapes network.shapes[l]
        From where; of a state each run has its own.
    name : str, optional
        By which results have it.

    Returns
    -------
    Measure
        Of shape (): 1 - <K, K'> / (|K| |K'|). The text ``"kernel_distance"`` is that to the start of
        the training; one that is continued has to be given a state.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> network, loss = lf.Dense((1, 1, 1)), lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    >>> lazy = lf.observables.kernel_distance([[[1.0]], [[0.0]]])
    >>> lf.observe(network, loss, [[[5.0]], [[0.0]]], (lazy,))["kernel_distance"].item()
    0.0
    """
    return measures.from_weights("kernel_distance", state, name)
