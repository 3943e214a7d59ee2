"""Start weights of layers as wide as a number says, in the few dimensions in which they train.

What a wide layer does depends on how its columns lie to each other alone. Of random columns that is a
small random matrix, the R factor of a Gaussian one, whose law is known (Bartlett 1933): so a layer of
10^9 units is drawn exactly, at the cost of a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, elementary, validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast.networks.named import Dense

WIDEST = 1e12
"""Largest width besides infinity."""
N_TRIALS = 12
"""Of chi distributed numbers. Each fails with probability 0.05 at most, all of them once in 10^15."""


def checked_widths(value: npt.ArrayLike, *, at_least: int) -> FloatArray:
    """Return widths of hidden layers as a read-only view of floats, (*run).

    Parameters
    ----------
    value : array_like, shape (*run)
        Whole numbers, or infinity.
    at_least : int
        The least that there may be.

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """
    array = validate.numbers("width", value)
    widths = np.asarray(validate.unbroadcast(array), np.float64)
    fits = (widths >= at_least) & (widths <= WIDEST) & (widths == np.floor(widths))
    expected = f"whole numbers from {at_least} to {WIDEST:g}, or inf"
    validate.refuse("width", expected, widths, ~(fits | np.isposinf(widths)))
    return np.broadcast_to(widths, array.shape)


def n_normals(size: int) -> int:
    """Return how many normal numbers a triangle of this size takes."""
    return size * (size - 1) // 2 + 3 * N_TRIALS * size


def triangle(normals: FloatArray, widths: FloatArray, size: int) -> FloatArray:
    """Return the R factor, over the root of its rows, of a Gaussian matrix of many rows.

    Parameters
    ----------
    normals : ndarray, shape (*run, n_normals(size))
        Independent standard normal numbers.
    widths : ndarray, shape (*run)
        Numbers >= 0 of rows of the Gaussian matrix, or infinity.
    size : int
        Number of its columns.

    Returns
    -------
    ndarray, shape (*run, size, size)
        Upper triangular, with rows of zeros beyond the width; for infinity the identity.
    """
    n_above = size * (size - 1) // 2
    above, trials = np.split(normals, [n_above], axis=-1)
    root = np.sqrt(np.maximum(widths, 1.0))[..., None]
    freedom = np.maximum(widths[..., None] - np.arange(size), 0.0)
    rows, columns = np.triu_indices(size, 1)
    found = np.zeros((*normals.shape[:-1], size, size))
    found[..., rows, columns] = np.where(freedom[..., rows] > 0, above / root, 0.0)
    diagonal = np.arange(size)
    chi = _chi(trials.reshape(*trials.shape[:-1], size, N_TRIALS, 3), freedom)
    found[..., diagonal, diagonal] = np.where(np.isinf(root), 1.0, chi / root)
    return found


def _chi(normals: FloatArray, freedom: FloatArray) -> FloatArray:
    """Return chi distributed numbers of whole degrees of freedom; 0 for none.

    By the rejection of G. Marsaglia, W. W. Tsang, "A simple method for generating gamma variables"
    (2000), from a fixed number of normal numbers (..., n_trials, 3).
    """
    is_usual = (freedom >= 2) & np.isfinite(freedom)
    d = np.where(is_usual, freedom, 2.0)[..., None] / 2 - 1 / 3
    x, one, two = np.moveaxis(normals, -1, 0)
    small = x / (3 * np.sqrt(d))
    cube = (1 + small) ** 3
    change = small * (3 + small * (3 + small))  # cube - 1
    inside = cube > 0
    log = 3 * elementary.log1p(np.where(inside, small, 0.0))
    # An exponential number, as minus the logarithm of a uniform one.
    waited = (one * one + two * two) / 2
    accepted = inside & (waited + x * x / 2 + d * (log - change) > 0)
    first = np.argmax(accepted, axis=-1)[..., None]
    cube = np.take_along_axis(cube, first, axis=-1)[..., 0]
    found = np.sqrt(2 * d[..., 0] * np.maximum(cube, 0.0))
    single = np.abs(x[..., 0])  # of one degree
    return np.where(is_usual, found, np.where(freedom == 1, single, 0.0))


def pair(
    normals: FloatArray, widths: FloatArray, n_inputs: int, n_outputs: int, n_units: int
) -> tuple[FloatArray, FloatArray]:
    """Return two layers (*run, n_units, in) and (*run, out, n_units) of normal entries, over the root of the width.

    Parameters
    ----------
    normals : ndarray, shape (*run, n_normals(in + out))
        Standard normal numbers.
    widths : ndarray, shape (*run)
        Of the hidden layer.
    n_inputs, n_outputs, n_units : int
        Of the network that stands for the wide one.
    """
    factor = _padded(triangle(normals, widths, n_inputs + n_outputs), n_units)
    return factor[..., :n_inputs], np.swapaxes(factor[..., n_inputs:], -2, -1)


def frames(
    normals: FloatArray, widths: FloatArray, n_inputs: int, n_outputs: int, n_units: int
) -> tuple[FloatArray, FloatArray]:
    """Return orthonormal columns (*run, n_units, in) and rows (*run, out, n_units), at random to each other.

    Parameters
    ----------
    normals : ndarray, shape (*run, in * out + n_normals(out))
        Standard normal numbers.
    widths : ndarray, shape (*run)
        Number of dimensions that they lie in, at least as many as inputs and as outputs.
    n_inputs, n_outputs, n_units : int
        Of the network that stands for the wide one.
    """
    upper, lower = np.split(normals, [n_inputs * n_outputs], axis=-1)
    below = widths - n_inputs
    crossed = upper.reshape(*upper.shape[:-1], n_inputs, n_outputs)
    crossed = crossed / np.sqrt(np.maximum(below, 1.0))[..., None, None]
    # In a basis that begins with the columns of the first.
    drawn = np.concatenate([crossed, triangle(lower, below, n_outputs)], axis=-2)
    second = _padded(algebra.orthonormal_columns(drawn), n_units)
    first = np.broadcast_to(np.eye(n_units, n_inputs), (*widths.shape, n_units, n_inputs))
    return first, np.swapaxes(second, -2, -1)


def _padded(matrix: FloatArray, n_rows: int) -> FloatArray:
    """Return a matrix of this many rows: with zeros below, or without the last ones, which are 0."""
    kept = matrix[..., :n_rows, :]
    found = np.zeros((*matrix.shape[:-2], n_rows, matrix.shape[-1]))
    found[..., : kept.shape[-2], :] = kept
    return found


def gaussian(
    network: Dense,
    widths: FloatArray,
    exponent: FloatArray,
    *,
    fan_in: bool,
    numbers: Callable[[int], FloatArray],
) -> tuple[FloatArray, ...]:
    """Return two layers (*run, ...) of normal entries, whose hidden width is a number."""
    n_inputs, n_units, n_outputs = network.widths
    # Columns have lengths that go as the root of the width.
    powers = (0.5 - exponent, (0.0 if fan_in else 0.5) - exponent)
    if any((np.isinf(widths) & (power_of > 0)).any() for power_of in powers):
        msg = "width must be finite where weights grow with it, got inf; with width_exponent 0.5 they do not"
        raise ValueError(msg)
    normals = numbers(n_normals(n_inputs + n_outputs))
    layers = pair(normals, widths, n_inputs, n_outputs, n_units)
    first, second = (
        layer * power(widths, power_of)[..., None, None]
        for layer, power_of in zip(layers, powers, strict=True)
    )
    return first / math.sqrt(n_inputs if fan_in else 1), second


def orthogonal(
    network: Dense, widths: FloatArray, *, numbers: Callable[[int], FloatArray]
) -> tuple[FloatArray, ...]:
    """Return layers (*run, ...) with orthonormal columns or rows, whose hidden width is a number."""
    n_inputs, *hidden, n_outputs = network.widths
    normals = numbers(n_inputs * n_outputs + n_normals(n_outputs))
    first, last = frames(normals, widths, n_inputs, n_outputs, max(hidden))
    inner = []
    for before, after in pairwise(hidden):
        # Hidden spaces are turned so that layers between are the identity.
        is_there = np.arange(min(before, after)) < widths[..., None]
        layer = np.zeros((*widths.shape, after, before))
        layer[..., np.arange(min(before, after)), np.arange(min(before, after))] = is_there
        inner.append(layer)
    return first[..., : hidden[0], :], *inner, last[..., : hidden[-1]]


def of_network(network: Dense, width: npt.ArrayLike, runs: Shape, *, at_least: int) -> FloatArray:
    """Return hidden widths (*run) that the hidden layers of a network can stand for."""
    widths = checked_widths(width, at_least=at_least)
    validate.fits_batch("width", widths.shape, runs)
    n_ends = network.n_inputs + network.n_outputs
    needed = min(widths.max(), n_ends)
    if network.n_layers < 2 or min(network.widths[1:-1]) < needed:
        msg = f"network must have hidden layers of at least {needed:g} units for a width of "
        msg += (
            f"{widths.max():g}, of inputs + outputs, {n_ends}, for any, got widths {network.widths}"
        )
        raise ValueError(msg)
    return np.broadcast_to(widths, runs)


def power(base: npt.ArrayLike, exponent: FloatArray) -> FloatArray:
    """Return base^exponent of bases >= 1, or infinite for exponents <= 0, the same on every machine."""
    safe = np.minimum(base, np.finfo(np.float64).max)
    found = elementary.exp(exponent * elementary.log(safe))
    return np.where(exponent == 0, 1.0, np.where(np.isinf(base), 0.0, found))
