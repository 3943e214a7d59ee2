"""Initial weights without chance: constants and identities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.initialization import options
from linnet_fast.layers.pattern import Layer
from linnet_fast.networks.chain import Chain, checked_network


def constant(
    network: Chain,
    *,
    scale: npt.ArrayLike = 1.0,
    layer_scales: npt.ArrayLike | None = None,
    batch_shape: int | Sequence[int] | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return weights all of which are the same number, or one number per layer.

    Parameters
    ----------
    network : Chain
        Gives the shapes.
    scale : array_like, default 1
        The number >= 0; broadcasts to `batch_shape`.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Factors on each array of weights, of any sign: ``scale=a, layer_scales=(1, 0)`` starts the second
        layer from zero.
    batch_shape : int or tuple of int, optional
        Run axes of the result; by default those of `scale`.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, *network.shapes[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, or run axes do not broadcast to `batch_shape`.

    References
    ----------
    B. Woodworth, S. Gunasekar, J. D. Lee, E. Moroshko, P. Savarese, I. Golan, D. Soudry, N. Srebro,
    "Kernel and rich regimes in overparametrized models", COLT 2020: diagonal networks start so.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> [w.tolist() for w in constant(lf.Diagonal(2, 2), scale=0.1)]
    [[0.1, 0.1], [[0.1, 0.1]]]
    """
    checked_network(network, Chain)
    given = options.checked(scale, batch_shape, dtype, network=network, layer_scales=layer_scales)
    given.check_room(network)
    return tuple(
        given.finish(np.ones(shape), number, len(shape))
        for number, shape in enumerate(network.shapes)
    )


def identity(
    network: Chain,
    *,
    scale: npt.ArrayLike = 1.0,
    layer_scales: npt.ArrayLike | None = None,
    batch_shape: int | Sequence[int] | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return weights that make each layer a multiple of the identity.

    A layer that is not square has ones from its first corner along the diagonal. Of a convolution that
    is the tap that moves nothing, of each channel to itself. What a residual layer adds is besides.

    Parameters
    ----------
    network : Chain
        No weight of which stands both on the diagonal and beside it.
    scale : array_like, default 1
        Factor >= 0 on all layers; broadcasts to `batch_shape`.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Factors on each array of weights, of any sign.
    batch_shape : int or tuple of int, optional
        Run axes of the result; by default those of `scale`.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, *network.shapes[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a layer has no identity, a number is out of range, or run axes do not broadcast to
        `batch_shape`.

    References
    ----------
    P. L. Bartlett, D. P. Helmbold, P. M. Long, "Gradient descent with identity initialization
    efficiently learns positive-definite linear transformations by deep residual networks", Neural
    Computation 31 (2019).

    Examples
    --------
    >>> import linnet_fast as lf
    >>> [w.tolist() for w in identity(lf.Dense((2, 3)), scale=0.5)]
    [[[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]]]
    >>> [w.tolist() for w in identity(lf.Chain([lf.layers.Convolution(4, 3)]))]
    [[[[1.0, 0.0, 0.0]]]]
    """
    checked_network(network, Chain)
    given = options.checked(scale, batch_shape, dtype, network=network, layer_scales=layer_scales)
    given.check_room(network)
    found: dict[int, FloatArray] = {}
    for layer, number in zip(network.layers, network.share, strict=True):
        if number is not None:
            weights = _diagonal_of(layer).reshape(network.shapes[number])
            if not np.array_equal(found.setdefault(number, weights), weights):
                msg = f"network must have layers that can be the identity at once, got {layer!r}"
                raise ValueError(msg)
    return tuple(
        given.finish(found[number], number, len(shape))
        for number, shape in enumerate(network.shapes)
    )


def _diagonal_of(layer: Layer) -> FloatArray:
    """Return weights of a layer that make it the identity, flat."""
    pattern = layer.pattern
    is_free = pattern.weight >= 0
    diagonal = is_free & (pattern.row == pattern.column)
    values = np.zeros(pattern.n_weights)
    values[pattern.weight[diagonal]] = 1.0 / pattern.coefficient[diagonal]
    made = np.zeros(pattern.row.size)
    made[is_free] = values[pattern.weight[is_free]] * pattern.coefficient[is_free]
    covered = np.unique(pattern.row[diagonal]).size
    if (made != diagonal).any() or covered < min(pattern.n_outputs, pattern.n_inputs):
        msg = f"network must have layers that can be the identity, got {layer!r}"
        raise ValueError(msg)
    return values
